"""States that need more than a lock, and thousands of them at once, from a cache that must not lie."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cegppo_verl.records import facts, marks, progress, status_cache, submission
from cegppo_verl.records.overview import Overview, Wanted
from cegppo_verl.records.progress import Goal
from cegppo_verl.records.rundir import Attempt, RunDir
from cegppo_verl.records.status import Status, status_of
from cegppo_verl.records.submission import Submission

EVALUATION = {"every": 2, "benchmarks": [{"name": "pick", "samples": 2, "problems": 2}]}
CELL: dict[str, Any] = {"id": "0123456789ab", "settings": {"total_steps": 4, "eval": EVALUATION}}
NAME = "grpo__toy__seed1-0123456789ab"
WANTED = Wanted(CELL["id"], "demo", NAME, Goal.of(CELL))
KILLED = "its runner was killed; the next run resumes it"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "demo" / NAME)
    run.create(CELL)
    return run


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are believed at once, as if they were seconds old, and few runs are worth a cache."""
    monkeypatch.setattr(status_cache, "WORTH_KEEPING", (0, 0))
    monkeypatch.setattr(status_cache, "SETTLED_SECONDS", -60.0)


def line(step: int, **data: Any) -> str:
    return (
        json.dumps({"step": step, "data": {"training/global_step": step, "timing_s/step": 2.0, **data}})
        + "\n"
    )


def attempt(run: RunDir, steps: Iterable[int], **record: Any) -> Attempt:
    new = run.new_attempt()
    new.metrics_file.write_text("".join(line(s, **{"actor/entropy": 0.5 * s}) for s in steps))
    new.update(number=new.number, **record)
    return new


def evaluate(run: RunDir, samples: int = 4) -> None:
    (run.validation / "4.jsonl").write_text("{}\n" * samples)


def look(run: RunDir) -> Status:
    """What a new process would say."""
    return Overview(run.path.parent.parent).look([WANTED])[WANTED.id]


def beat(new: Attempt, age: float = 0.0) -> None:
    new.alive_file.touch()
    os.utime(new.alive_file, (time.time() - age,) * 2)


def submit(run: RunDir, name: str = "cegppo-x-1", **fields: Any) -> Submission:
    job = Submission(name, 1, **{"executor": "slurm", "submitted": "2026-01-01T00:00:00+00:00", **fields})
    submission.write(run, job)
    return job


# --- a heart that beats


@pytest.mark.parametrize(
    ("age", "state"), [(0, "running"), (80, "running"), (100, "planned"), (-80, "running")]
)
def test_a_sign_of_life_from_another_host_counts_for_90_seconds(run: RunDir, age: float, state: str) -> None:
    beat(attempt(run, [1], host="another", pid=1), age)
    assert status_of(run, CELL).state == state
    assert status_of(run, CELL, own_lock=True).state == "planned"


def test_a_clock_that_jumped_does_not_make_a_cell_run_for_ever(run: RunDir) -> None:
    beat(attempt(run, [1], host="another", pid=1), age=-3600)
    assert status_of(run, CELL) == Status("planned", 1, 4, KILLED)


def test_files_from_the_future_do_not_hide_a_stall(run: RunDir) -> None:
    new = attempt(run, [1])
    new.log_file.touch()
    for path in (new.metrics_file, new.path, run.validation):
        os.utime(path, (time.time() - 1200,) * 2)
    os.utime(new.log_file, (time.time() + 86400,) * 2)
    with run.lock():
        assert status_of(run, CELL).state == "stalled"


def test_a_dead_process_of_this_host_is_dead_however_fresh_its_file(run: RunDir) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    new = attempt(run, [1], host=socket.gethostname(), pid=child.pid)
    beat(new)
    assert status_of(run, CELL) == Status("planned", 1, 4, KILLED)
    new.update(pid=os.getpid())
    assert status_of(run, CELL).state == "running"


def test_an_attempt_with_an_outcome_is_over(run: RunDir) -> None:
    beat(attempt(run, [1], host="another", pid=1, outcome="failed", cause="out of memory"))
    assert status_of(run, CELL) == Status("failed", 1, 4, "out of memory")


# --- queued


def test_queued_until_the_job_begins_or_ends(run: RunDir) -> None:
    job = submit(run, job="77")
    found = status_of(run, CELL)
    assert (found.state, found.executor, found.job, found.since) == ("queued", "slurm", "77", job.submitted)
    attempt(run, [1], submission=job.name, outcome="failed", cause="out of memory")
    assert status_of(run, CELL).state == "failed"
    again = submit(run, "cegppo-x-2")
    assert status_of(run, CELL).state == "queued"
    submission.update(run, again, ended=submission.now())
    assert status_of(run, CELL).state == "failed"


def test_a_local_job_is_gone_with_its_runner(run: RunDir) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    dead = {"host": socket.gethostname(), "pid": child.pid}
    submit(run, executor="local", runner=dead)
    assert status_of(run, CELL).state == "planned"
    submit(run, executor="local", runner={**dead, "pid": os.getpid()})
    assert status_of(run, CELL).state == "queued"
    submit(run, executor="slurm", runner=dead)
    assert status_of(run, CELL).state == "queued"


# --- stopped, and tried again


def test_a_rule_stopped_it(run: RunDir) -> None:
    attempt(run, [1, 2], outcome="stopped", cause="actor/entropy below 0.01 for 3 steps")
    assert status_of(run, CELL) == Status("stopped", 2, 4, "actor/entropy below 0.01 for 3 steps")


def test_a_person_stopped_it(run: RunDir) -> None:
    marks.request_stop(run, "ada", "the GPUs are needed")
    assert status_of(run, CELL) == Status("stopped", 0, 4, "stop asked for by ada: the GPUs are needed")
    with run.lock():
        assert status_of(run, CELL).text() == (
            "running, step 0 of 4: is being stopped (stop asked for by ada: the GPUs are needed)"
        )


@pytest.mark.parametrize("outcome", ["stopped", "failed"])
def test_a_retry_makes_it_planned(run: RunDir, outcome: str) -> None:
    attempt(run, [1], outcome=outcome, cause="x")
    marks.request_stop(run, "ada")
    marks.request_retry(run, "ada")
    found = status_of(run, CELL)
    assert (found.state, found.why) == ("planned", "a new try was asked for; the next run makes it")


def test_done_is_done_whatever_marks_there_are(run: RunDir) -> None:
    attempt(run, range(1, 5))
    evaluate(run)
    marks.request_stop(run, "ada")
    submit(run)
    assert status_of(run, CELL).state == "done"


# --- numbers


def test_the_numbers_beside_the_state(run: RunDir) -> None:
    attempt(run, [1, 2], seconds=30.0, outcome="failed", cause="x")
    second = attempt(
        run, [], resumed_from=1, host="h", started="2026-01-01T00:00:00+00:00", ended="2026-01-02"
    )
    second.metrics_file.write_text(
        line(2, **{"actor/entropy": None, "val-core/a/acc/mean@2": 0.25}) + line(3)
    )
    for file in second.path.iterdir():
        os.utime(file, (facts.moment("2026-01-01T00:00:50+00:00"),) * 2)  # type: ignore[arg-type]
    second.update(outcome="failed", cause="the node side was killed without a word")
    found = status_of(run, CELL)
    assert (found.step, found.attempt, found.accuracy, found.pace, found.seconds) == (3, 2, 0.25, 2.0, 80.0)
    assert found.entropy != found.entropy, "logged, but not finite"


@pytest.mark.parametrize(
    "record", [{"seconds": "x"}, {"started": 5, "host": "h"}, {"seconds": -3}, {"pid": "x"}]
)
def test_an_odd_record_costs_numbers_and_nothing_else(run: RunDir, record: dict[str, Any]) -> None:
    attempt(run, [1], outcome="failed", cause="x", **record)
    assert status_of(run, CELL) == Status("failed", 1, 4, "x")
    assert status_of(run, CELL).seconds == 0.0


# --- many, with a cache


def test_the_overview_says_what_a_single_look_says(run: RunDir) -> None:
    attempt(run, [1, 2], resumed_from=0, outcome="failed", cause="x")
    for _ in range(2):
        assert look(run) == status_of(run, CELL) == Status("failed", 2, 4, "x")
    attempt(run, [2, 3, 4], resumed_from=1)
    assert look(run) == Status("planned", 4, 4, KILLED)
    evaluate(run)
    for _ in range(2):
        assert look(run) == status_of(run, CELL) == Status("done", 4, 4)


def test_what_is_done_is_not_read_again(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(run, range(1, 5))
    evaluate(run)
    look(run)
    monkeypatch.setattr(facts, "read", lambda *_: pytest.fail("read again"))
    assert look(run) == Status("done", 4, 4)


def spoil_metrics(run: RunDir) -> None:
    file = run.attempts()[0].metrics_file
    info = file.stat()
    file.write_bytes(file.read_bytes().replace(b'"step": 2', b'"step": 9'))  # of the same size
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


def truncate_metrics(run: RunDir) -> None:
    file = run.attempts()[0].metrics_file
    os.truncate(file, file.stat().st_size - 30)


def truncate_evaluation(run: RunDir) -> None:
    os.truncate(run.validation / "4.jsonl", 5)


def go_back(run: RunDir) -> None:
    attempt(run, [], resumed_from=2)


def rewrite_record(run: RunDir) -> None:
    run.attempts()[1].update(resumed_from=1)


SPOILED = [spoil_metrics, truncate_metrics, truncate_evaluation, go_back, rewrite_record]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda f: f.__name__)
def test_a_cache_never_keeps_a_cell_done(run: RunDir, spoil: Any) -> None:
    attempt(run, range(1, 5), resumed_from=0)
    attempt(run, [], resumed_from=4)
    evaluate(run)
    assert look(run) == Status("done", 4, 4)
    spoil(run)
    found = look(run)
    assert found.state == "planned"
    assert found == status_of(run, CELL)


def test_another_goal_is_another_question(run: RunDir) -> None:
    attempt(run, range(1, 5))
    evaluate(run)
    look(run)
    longer = Wanted(WANTED.id, "demo", NAME, Goal(5, 4, 4))
    assert Overview(run.path.parent.parent).look([longer])[WANTED.id].why == KILLED


def test_a_running_cell_is_read_on_from_where_it_was(run: RunDir) -> None:
    new = attempt(run, [1])
    overview = Overview(run.path.parent.parent)
    with run.lock():
        assert overview.look([WANTED])[WANTED.id].step == 1
        info = new.metrics_file.stat()
        with new.metrics_file.open("r+") as file:  # never happens; shows that the old part is not read
            file.write(" " * (info.st_size - 1))
        with new.metrics_file.open("a") as file:
            file.write(line(2) + line(3)[:-9])
        assert overview.look([WANTED])[WANTED.id].step == 2
        with new.metrics_file.open("a") as file:
            file.write(line(3)[-9:] + line(4))
        evaluate(run)
        found = overview.look([WANTED])[WANTED.id]
        assert (found.state, found.step) == ("running", 0), "done is proved by whole files only"


def test_a_running_cell_becomes_done(run: RunDir) -> None:
    new = attempt(run, [1])
    overview = Overview(run.path.parent.parent)
    with run.lock():
        assert overview.look([WANTED])[WANTED.id].step == 1
        for step in (2, 3, 4):
            with new.metrics_file.open("a") as file:
                file.write(line(step))
            assert overview.look([WANTED])[WANTED.id].step == step
        evaluate(run)
        found = overview.look([WANTED])[WANTED.id]
        assert (found, found.pace) == (Status("done", 4, 4), 2.0)


def test_a_file_that_has_just_changed_is_not_trusted(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_cache, "SETTLED_SECONDS", 60.0)
    attempt(run, range(1, 5))
    evaluate(run)
    look(run)
    counted: list[int] = []
    read = facts.read
    monkeypatch.setattr(facts, "read", lambda *a: counted.append(1) or read(*a))
    assert look(run).state == "done"
    assert counted == [1]


DAMAGE = [
    "",
    "{",
    "[]",
    "null",
    '{"version": 3}',
    "VERSION[]",
    'VERSION{"NAME": 5}',
    'VERSION{"NAME": [1, 2]}',
]


@pytest.mark.parametrize("text", DAMAGE)
def test_a_damaged_cache_is_no_cache(run: RunDir, text: str) -> None:
    attempt(run, [1], outcome="failed", cause="x")
    if text.startswith("VERSION"):
        text = json.dumps(
            {"version": status_cache.VERSION, "runs": json.loads(text[7:].replace("NAME", NAME))}
        )
    (run.path.parent / status_cache.FILE).write_text(text)
    assert look(run) == Status("failed", 1, 4, "x")
    assert look(run) == Status("failed", 1, 4, "x")


@pytest.mark.parametrize(("worth", "kept"), [((2, 10**9), False), ((1, 10**9), True), ((2, 300), True)])
def test_looking_at_few_small_runs_writes_nothing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, worth: tuple[int, int], kept: bool
) -> None:
    monkeypatch.setattr(status_cache, "WORTH_KEEPING", worth)
    attempt(run, range(1, 5), outcome="failed", cause="x")
    look(run)
    assert (run.path.parent / status_cache.FILE).exists() is kept


def test_a_folder_that_cannot_be_written_has_no_cache(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(status_cache, "_replace", refuse)
    attempt(run, range(1, 5))
    evaluate(run)
    assert look(run).state == "done"
    assert sorted(p.name for p in run.path.parent.iterdir()) == [NAME]


def test_what_was_never_started_is_not_looked_for(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [Wanted(f"{i:012x}", "demo", f"a-{i:012x}", WANTED.goal) for i in range(50)]
    monkeypatch.setattr(os, "stat", lambda *_: pytest.fail("asked for a file"))
    states = Overview(run.path.parent.parent).look(others)
    assert set(states.values()) == {Status("planned", 0, 4)}


def test_the_same_cell_of_another_grid_is_found(run: RunDir) -> None:
    attempt(run, [1], outcome="failed", cause="x")
    other = Wanted(WANTED.id, "another", f"baseline__toy__seed1-{WANTED.id}", WANTED.goal)
    assert Overview(run.path.parent.parent).look([other])[WANTED.id].state == "failed"
    assert Overview(run.path / "absent").look([other])[WANTED.id].state == "planned"


def test_steps_as_the_other_readers_have_them(run: RunDir) -> None:
    attempt(run, [1, 2, 3], resumed_from=0)
    attempt(run, [3], resumed_from=2)
    digests = facts.read(run, WANTED.goal)
    assert digests.step == max(progress.trained_steps(run)) == 3

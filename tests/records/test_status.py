"""The five words and their reasons, from nothing but files and a lock."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cegppo_verl.records.rundir import Attempt, RunDir
from cegppo_verl.records.status import Status, last_sign_of_life, status_of

EVALUATION = {"every": 2, "benchmarks": [{"name": "pick", "samples": 2, "problems": 2}]}
CELL: dict[str, Any] = {"id": "0123456789ab", "settings": {"total_steps": 4, "eval": EVALUATION}}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.create(CELL)
    return run


def attempt(run: RunDir, steps: Iterable[int], **record: Any) -> Attempt:
    """An attempt that logged ``steps``; ``record`` is how it ended."""
    new = run.new_attempt()
    lines = [json.dumps({"step": s, "data": {"training/global_step": s}}) + "\n" for s in steps]
    new.metrics_file.write_text("".join(lines))
    new.update(number=new.number, **record)
    return new


def evaluate(run: RunDir, samples: int = 4) -> None:
    (run.validation / "4.jsonl").write_text("{}\n" * samples)


def age(run: RunDir, seconds: float) -> None:
    """Make everything in the run directory look ``seconds`` old."""
    for path in [*run.path.rglob("*"), run.path]:
        os.utime(path, (time.time() - seconds,) * 2)


def test_planned_before_anything_is_there(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "absent")
    assert status_of(run, CELL) == Status("planned", 0, 4)
    assert not run.path.exists(), "asking writes nothing"


def test_planned_before_the_first_attempt(run: RunDir) -> None:
    assert status_of(run, CELL) == Status("planned", 0, 4)


def test_done_with_all_steps_and_the_last_evaluation_whatever_the_record_says(run: RunDir) -> None:
    attempt(run, range(1, 5), outcome="failed", cause="killed by signal 9", exit_code=-9)
    evaluate(run)
    assert status_of(run, CELL) == Status("done", 4, 4)
    with run.lock():
        assert status_of(run, CELL).state == "done"
        assert status_of(run, CELL, own_lock=True).state == "done"


def test_running_while_locked(run: RunDir) -> None:
    attempt(run, [1, 2])
    with run.lock():
        assert status_of(run, CELL) == Status("running", 2, 4)


def test_running_while_the_first_attempt_is_being_prepared(run: RunDir) -> None:
    age(run, 3600)
    with run.lock():
        assert status_of(run, CELL) == Status("running", 0, 4)


def test_stalled_when_nothing_grows(run: RunDir) -> None:
    attempt(run, [1, 2])
    age(run, 1200)
    with run.lock():
        assert status_of(run, CELL) == Status("stalled", 2, 4, "nothing written for 20 min")
        assert status_of(run, CELL, stall_seconds=1300).state == "running"


@pytest.mark.parametrize("sign", ["attempts/002/log.txt", "attempts/002/metrics.jsonl", "validation/2.jsonl"])
def test_a_growing_file_is_a_sign_of_life(run: RunDir, sign: str) -> None:
    attempt(run, [1], outcome="failed")
    attempt(run, [2])
    for name in (sign, "attempts/001/log.txt"):
        (run.path / name).touch()
    age(run, 1200)
    with run.lock():
        (run.path / "attempts/001/log.txt").touch()
        assert status_of(run, CELL).state == "stalled", "an old attempt's file is none"
        (run.path / sign).touch()
        assert status_of(run, CELL).state == "running"
        assert last_sign_of_life(run) == pytest.approx(time.time(), abs=60)


def test_between_attempts_the_own_lock_says_nothing(run: RunDir) -> None:
    attempt(run, [1, 2], outcome="failed", cause="out of memory")
    with run.lock():
        assert status_of(run, CELL).state == "running"
        assert status_of(run, CELL, own_lock=True) == Status("failed", 2, 4, "out of memory")


def test_failed_says_why(run: RunDir) -> None:
    attempt(run, [1], outcome="failed", cause="stalled at step 2")
    assert status_of(run, CELL) == Status("failed", 1, 4, "stalled at step 2")


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_an_exit_without_a_cause_fails_for_what_is_missing(run: RunDir, outcome: str) -> None:
    attempt(run, range(1, 5), outcome=outcome, cause=None, exit_code=0)
    evaluate(run, samples=3)
    why = "the final evaluation (step 4) is not complete"
    assert status_of(run, CELL) == Status("failed", 4, 4, why)


def test_an_interrupted_run_is_planned_again(run: RunDir) -> None:
    attempt(run, [1], outcome="failed", cause="older")
    attempt(run, [2], outcome="interrupted", cause="interrupted by the user")
    assert status_of(run, CELL) == Status("planned", 2, 4, "interrupted; the next run resumes it")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_whose_runner_was_killed_is_planned_again(run: RunDir, damaged: bool) -> None:
    attempt(run, [1], outcome="failed", cause="older")
    new = attempt(run, [2], started="2026-01-01T00:00:00+00:00")
    if damaged:
        new.record_file.write_text('{"number": 2, "outc')
    why = "its runner was killed; the next run resumes it"
    assert status_of(run, CELL) == Status("planned", 2, 4, why)


def test_the_step_stops_before_a_hole(run: RunDir) -> None:
    attempt(run, [1, 3, 4], outcome="completed")
    evaluate(run)
    assert status_of(run, CELL) == Status("failed", 1, 4, "step 2 of 4 is not logged")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status("running", 2, 4), "running, step 2 of 4"),
        (Status("failed", 1, 4, "out of memory"), "failed, step 1 of 4: out of memory"),
        (Status("done", 4, 4), "done, 4 steps"),
    ],
)
def test_the_text_for_people(status: Status, text: str) -> None:
    assert status.text() == text

"""The runner around a fake driver: done, resumed, retried, left alone, interrupted; nothing left behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from launch import fake_trainer
from launch.fake_trainer import Behaviour, Misdeeds, grid_text, make_cells

import cegppo_verl
from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import jobs, processes, runner, tasks
from cegppo_verl.launch.cells import _Scan, _scans, making_folders
from cegppo_verl.launch.follow import Limits
from cegppo_verl.launch.runner import GridRunner, Options
from cegppo_verl.records import progress
from cegppo_verl.records.metrics import load_metrics
from cegppo_verl.records.progress import LoggedStep
from cegppo_verl.records.rundir import Json, RunDir
from cegppo_verl.records.status import DONE, FAILED, PLANNED, Status, status_of

STEPS = 4
QUICK_STALL = Limits(startup=1.0, factor=3.0, least=1.0)


class Recorder:
    """A view that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        self.events.append(("begin", [states[c.id].state for c in cells]))

    def cell_started(self, cell: Cell, attempt: int, resume_from: int) -> None:
        self.events.append(("started", cell.arm, attempt, resume_from))

    def step(self, cell: Cell, step: LoggedStep) -> None:
        self.events.append(("step", cell.arm, step.step))

    def cell_ended(self, cell: Cell, status: Status, cause: str | None) -> None:
        self.events.append(("ended", cell.arm, status.state, cause))

    def note(self, text: str) -> None:
        self.events.append(("note", text))

    def tick(self) -> None:
        pass

    def end(self, states: Mapping[str, Status]) -> None:
        self.events.append(("end", [s.state for s in states.values()]))

    def all(self, kind: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] == kind]


class Bench:
    """A grid, its run directories and a runner with the fake driver."""

    def __init__(self, folder: Path, behaviour: Behaviour) -> None:
        self.folder, self.behaviour = folder, behaviour
        self.results = folder / "results"
        self.cells = make_cells(folder)
        self.view = Recorder()

    @property
    def cell(self) -> Cell:
        return self.cells[0]

    @property
    def run_dir(self) -> RunDir:
        return runner.run_dir(self.cell, self.results)

    @property
    def json(self) -> Json:
        return runner.cell_json(self.cell)

    def run(self, *misdeeds: str, **options: Any) -> bool:
        """Run with one misdeed per attempt from the next attempt on; '' is an attempt that does its duty."""
        first = len(self.run_dir.attempts()) + 1
        self.behaviour.misdeeds = {
            self.cell.arm: {str(first + i): word for i, word in enumerate(misdeeds)},
        }
        self.view = Recorder()
        made = Options(results=self.results, warm=False, **options)
        return GridRunner(self.cells, made, self.view).run()

    def status(self) -> Status:
        return status_of(self.run_dir, self.json)

    def records(self) -> list[Json]:
        return [attempt.record() for attempt in self.run_dir.attempts()]

    def left(self) -> list[psutil.Process]:
        return [p for a in self.run_dir.attempts() for p in processes.marked(jobs.mark(a))]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    behaviour = Behaviour(notebook=str(tmp_path / "resumed"))
    behaviour.install(monkeypatch.setattr)
    return Bench(tmp_path, behaviour)


def steps_of(run: RunDir, key: str = "actor/entropy") -> list[int]:
    return load_metrics(run.path).series(key)[0].tolist()


# --- done


def test_a_cell_runs_to_its_end_and_is_recorded(bench: Bench) -> None:
    assert bench.run()
    assert bench.status() == Status(DONE, STEPS, STEPS)
    (record,) = bench.records()
    assert (record["outcome"], record["cause"], record["exit_code"]) == ("completed", None, 0)
    assert record["resumed_from"] == 0
    assert record["number"] == 1
    assert record["started"] <= record["ended"]
    assert record["seconds"] >= 0
    assert 500_000 < record["peak_memory_bytes"] < 500_000_000
    assert bench.run_dir.manifest()["cell"] == bench.cell.id
    assert bench.run_dir.cell() == bench.json
    assert steps_of(bench.run_dir) == [1, 2, 3, 4]


def test_the_view_hears_each_line_once_and_in_order(bench: Bench) -> None:
    bench.run()
    arm = bench.cell.arm
    assert bench.view.all("begin") == [("begin", [PLANNED])]
    assert bench.view.all("started") == [("started", arm, 1, 0)]
    assert [e[2] for e in bench.view.all("step")] == [0, 1, 2, 3, 4]
    assert bench.view.all("ended") == [("ended", arm, DONE, None)]
    assert bench.view.all("end") == [("end", [DONE])]


def test_a_finished_grid_says_so_and_starts_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run()
    before = {p: p.stat().st_mtime_ns for p in bench.results.rglob("*")}
    monkeypatch.setattr(runner, "check", lambda cells: pytest.fail("nothing is to be checked"))
    monkeypatch.setattr(jobs, "build_inputs", lambda cell: pytest.fail("nothing is to be built"))
    assert bench.run()
    assert bench.view.events == [("begin", [DONE]), ("end", [DONE])]
    assert {p: p.stat().st_mtime_ns for p in bench.results.rglob("*")} == before


@pytest.mark.parametrize(
    ("misdeed", "why"),
    [
        ("unevaluated@4", "final evaluation"),
        ("half-evaluated@4", "step 4 of 4 is not logged"),
        ("unlogged@4", "step 4 of 4 is not logged"),
        ("truncate@4", "step 4 of 4 is not logged"),
        ("leave@4", "step 4 of 4 is not logged"),
        ("idle", "step 1 of 4 is not logged"),
    ],
)
def test_an_exit_before_everything_is_recorded_is_a_failure(bench: Bench, misdeed: str, why: str) -> None:
    assert not bench.run(misdeed, retries=0)
    assert bench.status().state == FAILED
    assert why in str(progress.missing(bench.run_dir, bench.json))
    (record,) = bench.records()
    assert record["outcome"] == "failed"
    assert record["cause"]


def test_half_a_final_evaluation_is_not_an_evaluation(bench: Bench) -> None:
    bench.run()
    dump = bench.run_dir.validation / f"{STEPS}.jsonl"
    dump.write_text("".join(dump.read_text().splitlines(keepends=True)[:-1]))
    assert bench.status().state != DONE
    assert bench.run()
    assert bench.behaviour.resumed[-1] == 2  # step 4 must be evaluated anew, so its checkpoint does not count


def test_a_crash_after_everything_is_recorded_changes_nothing(bench: Bench) -> None:
    assert bench.run("crash-at-exit")
    (record,) = bench.records()
    assert (record["outcome"], record["cause"]) == ("completed", None)
    assert bench.status().state == DONE


def test_a_driver_that_never_exits_is_ended_and_the_cell_is_done(bench: Bench) -> None:
    assert bench.run("linger")
    (record,) = bench.records()
    assert record["outcome"] == "completed"
    assert record["exit_code"] is not None
    assert bench.left() == []


def test_a_driver_has_time_to_shut_down(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.behaviour.shutdown = 20.0
    bench.run("leave-slowly")
    assert bench.records()[0]["exit_code"] == 0, "ended although it was leaving by itself"


def test_what_a_driver_leaves_behind_is_ended(bench: Bench) -> None:
    assert bench.run("child")
    assert bench.left() == []


# --- resume


@pytest.mark.parametrize(
    ("misdeed", "resumed", "trained_again"),
    [
        ("kill@1", 0, [1]),
        ("kill@2", 0, [1, 2]),
        ("kill@3", 2, [3]),
        ("kill@4", 2, [3, 4]),
        ("truncate@3", 2, [3]),
        ("truncate@2", 0, [1, 2]),
        ("kill-after-checkpoint@2", 0, [1, 2]),  # verl's own "auto" would go on at 3: step 2 was never logged
        ("kill-after-checkpoint@4", 2, [3, 4]),
        ("unlogged@2", 0, [1, 2]),
        ("half-evaluated@2", 0, [1, 2]),
        ("unevaluated@4", 2, [3, 4]),
    ],
)
def test_the_next_attempt_goes_on_and_no_step_is_lost_or_doubled(
    bench: Bench, misdeed: str, resumed: int, trained_again: list[int]
) -> None:
    bench.run(misdeed, retries=0)
    assert bench.run(retries=0)
    assert bench.behaviour.resumed == [0, resumed]
    assert bench.records()[1]["resumed_from"] == resumed
    assert steps_of(bench.run_dir) == [1, 2, 3, 4]
    steps, attempts = load_metrics(bench.run_dir.path).series("fake/attempt")
    by_step = dict(zip(steps.tolist(), attempts.tolist(), strict=True))
    again = {step for step, attempt in by_step.items() if attempt == 2}
    assert again == set(range(resumed + 1, STEPS + 1)) >= set(trained_again)
    assert steps_of(bench.run_dir, f"val-core/{fake_trainer.BENCHMARK}/acc/mean@1") == [0, 2, 4]


def test_a_half_written_checkpoint_is_not_resumed_from(bench: Bench) -> None:
    bench.run("kill@4", retries=0)
    (bench.run_dir.checkpoints / "global_step_3").mkdir()
    (bench.run_dir.checkpoints / "global_step_3" / "data.pt").touch()  # newer than the tracker file says
    bench.run()
    assert bench.behaviour.resumed == [0, 2]


def test_an_old_attempt_is_never_overwritten(bench: Bench) -> None:
    bench.run("kill@3", retries=0)
    first = bench.run_dir.attempts()[0]
    before = first.metrics_file.read_bytes(), first.record()
    bench.run()
    assert (first.metrics_file.read_bytes(), first.record()) == before


# --- failures


def test_a_passing_failure_is_tried_again(bench: Bench) -> None:
    assert bench.run("lose-actor@3", "")
    assert [r["outcome"] for r in bench.records()] == ["failed", "completed"]
    assert "ActorDiedError" in bench.records()[0]["cause"]
    assert any("trying again (2 left)" in text for _, text in bench.view.all("note"))


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_the_number_of_retries_is_obeyed(bench: Bench, retries: int) -> None:
    assert not bench.run(*["kill@1"] * 5, retries=retries)
    assert len(bench.records()) == retries + 1
    assert bench.status().why == "the driver was killed by signal 9"


@pytest.mark.parametrize(
    ("misdeed", "cause"),
    [
        ("fail@2", "ValueError: a tensor of the wrong shape [3, 4]"),
        ("bad-override@1", "verl's configuration refuses an override: Could not override 'actor.nonsense'"),
    ],
)
def test_what_comes_again_is_not_tried_again(bench: Bench, misdeed: str, cause: str) -> None:
    assert not bench.run(misdeed, retries=2)
    assert [r["cause"] for r in bench.records()] == [cause]


@pytest.mark.parametrize("misdeed", ["lose-memory@1", "lose-actor@1", "kill@1", "leave@1", "idle"])
def test_what_may_pass_is_tried_again(bench: Bench, misdeed: str) -> None:
    assert bench.run(misdeed, "", retries=1)
    assert len(bench.records()) == 2


def test_a_failed_cell_does_not_stop_the_grid(bench: Bench) -> None:
    bench.cells = make_cells(bench.folder, arms=("grpo", "dapo"))
    assert not bench.run("fail@1", retries=2)
    assert bench.view.all("end") == [("end", [FAILED, DONE])]
    assert bench.run()  # and the next command takes it up again
    assert bench.view.all("begin") == [("begin", [FAILED, DONE])]
    assert bench.view.all("started") == [("started", "grpo", 2, 0)]


@pytest.mark.parametrize("misdeed", ["hang@2", "mute"])
def test_a_stall_is_ended_named_and_tried_again(bench: Bench, misdeed: str) -> None:
    assert bench.run(misdeed, "", limits=QUICK_STALL)
    first, second = bench.records()
    assert first["cause"].startswith("stalled: no new step for 1 s")
    assert (first["outcome"], second["outcome"]) == ("failed", "completed")
    assert bench.left() == []


def test_a_slow_driver_is_no_stall(bench: Bench) -> None:
    bench.behaviour.pace = 0.3
    assert bench.run(limits=Limits(startup=10.0, factor=3.0, least=1.0), retries=0)


def test_an_error_of_the_runner_itself_ends_the_driver(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(cell: Cell, step: LoggedStep) -> None:
        raise OSError(28, "No space left on device")

    bench.behaviour.pace = 0.2
    monkeypatch.setattr(Recorder, "step", staticmethod(broken))
    with pytest.raises(OSError, match="No space"):
        bench.run()
    (record,) = bench.records()
    assert (record["outcome"], record["cause"]) == ("interrupted", "ended by SIGTERM")
    assert bench.left() == []
    assert bench.view.all("end") == [("end", [PLANNED])]


# --- bad input writes nothing


def test_a_failed_check_writes_nothing_and_shows_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(cells: Sequence[Cell]) -> None:
        raise UserError("no room in shared memory")

    monkeypatch.setattr(runner, "check", refuse)
    with pytest.raises(UserError, match="no room"):
        bench.run()
    assert not bench.results.exists()
    assert bench.view.events == []


def test_missing_data_writes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cell: Cell) -> jobs.Inputs:
        raise UserError("missing data file")

    monkeypatch.setattr(jobs, "build_inputs", refuse)
    with pytest.raises(UserError, match="missing data"):
        bench.run()
    assert not bench.results.exists()


def test_the_display_is_closed_when_something_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "build_inputs", lambda cell: jobs.Inputs("model", ("gone.parquet",), ()))
    with pytest.raises(UserError, match=r"gone\.parquet"):
        bench.run()
    assert not bench.results.exists()
    assert bench.view.all("end")


def test_a_dry_run_writes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (text,) = tasks.dry_run(bench.cells, bench.results)
    assert "cegppo_verl.verl_plugin.train" in text
    assert not bench.results.exists()


def test_a_folder_that_holds_another_cell_is_refused(bench: Bench) -> None:
    bench.run()
    file = bench.run_dir.cell_file
    file.write_text(json.dumps({**bench.json, "id": "0" * 12, "settings": {"total_steps": 9}}))
    (bench.run_dir.validation / f"{STEPS}.jsonl").unlink()
    with pytest.raises(UserError, match="holds cell 000000000000"):
        bench.run()
    assert len(bench.records()) == 1


# --- identity


def test_the_same_cell_in_another_grid_is_the_same_run(bench: Bench) -> None:
    bench.run()
    (other,) = make_cells(bench.folder, name="other")
    assert other.id == bench.cell.id
    assert runner.run_dir(other, bench.results) == bench.run_dir
    view = Recorder()
    assert GridRunner([other], Options(results=bench.results, warm=False), view).run()
    assert view.events == [("begin", [DONE]), ("end", [DONE])]
    assert not (bench.results / "other").exists()


def test_two_grids_that_begin_at_once_share_one_folder(bench: Bench) -> None:
    (other,) = make_cells(bench.folder, name="other")
    late = GridRunner([other], Options(results=bench.results, warm=False), Recorder())
    made: list[RunDir] = []
    thread = threading.Thread(target=lambda: made.extend(run for _, run in late._make_folders([other])))
    with making_folders(bench.results):
        thread.start()
        thread.join(0.3)  # it has looked for the cell, if it looks before its turn
        assert thread.is_alive()
        bench.run_dir.create(bench.json)
        _scans[bench.results] = _Scan({}, until=math.inf)  # a slow look, from before
    thread.join(30)
    assert made == [bench.run_dir]
    assert not (bench.results / "other").exists()


def test_another_cell_is_another_run(bench: Bench) -> None:
    bench.run()
    _, dapo = make_cells(bench.folder, arms=("grpo", "dapo"))
    assert runner.run_dir(dapo, bench.results).path != bench.run_dir.path
    assert runner.statuses([dapo], bench.results)[dapo.id].state == PLANNED


# --- two runners, and runners that are killed: in processes of their own


class Outer:
    """A runner in a process of its own."""

    def __init__(self, bench: Bench, *options: str, pace: float = 0.1, **misdeeds: Misdeeds) -> None:
        grid = bench.folder / "grid.yaml"
        grid.write_text(grid_text())
        arguments = [str(grid), "--results", str(bench.results), *options]
        spec = {"arguments": arguments, "pace": pace, "misdeeds": misdeeds}
        package = str(Path(cegppo_verl.__file__).parents[1])  # the same code as in this process
        self.bench = bench
        self.process = subprocess.Popen(
            [sys.executable, fake_trainer.__file__, "run", json.dumps(spec)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": package, "COLUMNS": "200"},
        )

    def until(self, condition: Callable[[], bool], patience: float = 30.0) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def trained(self, step: int) -> None:
        """Wait until the step is logged."""
        self.until(lambda: step in progress.trained_steps(self.bench.run_dir))

    def end(self) -> tuple[int, str]:
        """Exit code and everything it said."""
        out, error = self.process.communicate(timeout=30)
        return self.process.returncode, out + error


@pytest.fixture
def outer(bench: Bench) -> Iterator[Callable[..., Outer]]:
    started: list[Outer] = []

    def start(*options: str, **more: Any) -> Outer:
        started.append(Outer(bench, *options, **more))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
    processes.end(bench.left(), grace=0.1)


def gone(bench: Bench, patience: float = 5.0) -> bool:
    """Whether nothing of the cell is left, now or in a moment; the node side lets go of its lock last."""
    deadline = time.monotonic() + patience
    while (bench.left() or bench.status().state == "running") and time.monotonic() < deadline:
        time.sleep(0.02)
    return bench.left() == []


def test_a_second_runner_leaves_a_running_cell_alone(bench: Bench, outer: Callable[..., Outer]) -> None:
    first = outer(grpo={"1": "hang@2"})
    first.trained(1)
    before = first.bench.status()
    assert before.state == "running"
    assert not bench.run()
    assert bench.view.all("note") == [("note", f"{bench.cell.slug}: another runner is at it, left alone")]
    assert bench.view.all("started") == []
    assert len(bench.run_dir.attempts()) == 1
    assert first.process.poll() is None
    assert len(bench.left()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_runner_that_is_asked_to_stop(
    bench: Bench, outer: Callable[..., Outer], number: signal.Signals
) -> None:
    one = outer(grpo={"1": "hang@4"})
    one.trained(3)
    one.process.send_signal(number)
    code, said = one.end()
    assert code == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert bench.left() == []
    (record,) = bench.records()
    assert (record["outcome"], record["cause"]) == ("interrupted", "ended by SIGTERM")
    assert bench.status() == Status(PLANNED, 3, STEPS, "interrupted; the next run resumes it")
    assert bench.run()
    assert bench.behaviour.resumed == [2]
    assert steps_of(bench.run_dir) == [1, 2, 3, 4]


def test_an_impatient_second_signal_does_not_cut_the_tidying_short(
    bench: Bench, outer: Callable[..., Outer]
) -> None:
    one = outer(grpo={"1": "hang@2"})
    one.trained(1)
    for _ in range(4):
        one.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    code, said = one.end()
    assert code == 130, said
    assert "Traceback" not in said
    assert bench.records()[0]["outcome"] == "interrupted"
    assert bench.left() == []


def test_a_killed_runner_leaves_a_resumable_state_and_no_process(
    bench: Bench, outer: Callable[..., Outer]
) -> None:
    one = outer(grpo={"1": "hang@4"})
    one.trained(3)
    one.process.kill()
    one.process.wait()
    assert gone(bench)
    (record,) = bench.records()
    assert (record["outcome"], record["cause"]) == ("interrupted", "ended by SIGTERM")
    assert bench.status() == Status(PLANNED, 3, STEPS, "interrupted; the next run resumes it")
    assert bench.run()
    assert bench.behaviour.resumed == [2]
    assert steps_of(bench.run_dir) == [1, 2, 3, 4]


def test_what_a_killed_runner_left_behind_is_ended_before_the_next_attempt(
    bench: Bench, outer: Callable[..., Outer]
) -> None:
    one = outer(grpo={"1": "child"}, pace=0.5)
    one.trained(1)
    one.process.kill()
    one.process.wait()
    assert len(bench.left()) >= 1  # the driver's child, in a session of its own
    assert bench.run()
    assert bench.left() == []


def test_the_command_line_says_how_it_went(bench: Bench, outer: Callable[..., Outer]) -> None:
    code, said = outer("--retries", "0", grpo={"1": "fail@2"}, pace=0.0).end()
    assert code == 1
    assert "failed, step 1 of 4: ValueError: a tensor of the wrong shape [3, 4]" in said
    code, said = outer("--retries", "0", pace=0.0).end()
    assert code == 0
    assert "1 of 1 cell done" in said

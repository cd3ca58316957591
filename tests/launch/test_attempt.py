"""One attempt on the node side: what its end is recorded as, and what of an earlier one it ends first."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from launch.fake_trainer import make_cells

from cegppo_verl.launch import attempt, driver, jobs, node, preflight, processes
from cegppo_verl.launch.attempt import Interrupted, cell_json
from cegppo_verl.launch.causes import Kind
from cegppo_verl.launch.conclude import conclude
from cegppo_verl.launch.executors.base import JobState, JobStatus
from cegppo_verl.launch.request import Request
from cegppo_verl.records import submission
from cegppo_verl.records.rundir import Attempt, Json, RunDir
from cegppo_verl.records.submission import Submission

JOB = Submission("cegppo-x-1", 1, "ray", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    made = RunDir(tmp_path / "run")
    made.create(cell_json(make_cells(tmp_path)[0]))
    submission.write(made, JOB)
    monkeypatch.setattr(preflight, "require_locked_versions", lambda lock=None: None)
    monkeypatch.setattr(preflight, "require_shared_memory", lambda: None)
    return made


def execute(run: RunDir, tmp_path: Path) -> None:
    attempt.execute(make_cells(tmp_path)[0], run, JOB)


@pytest.mark.parametrize(
    ("error", "outcome", "kind"),
    [
        (Interrupted("ended by SIGTERM"), "interrupted", Kind.PREEMPTED),
        (KeyboardInterrupt(), "interrupted", Kind.PREEMPTED),
        (RuntimeError("no module"), "failed", Kind.CODE_ERROR),
        (FileNotFoundError("gone"), "failed", Kind.NODE_LOST),
    ],
)
def test_an_error_of_the_node_side_is_a_failure_that_counts(
    run: RunDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    outcome: str,
    kind: Kind,
) -> None:
    def fail(cell: object) -> jobs.Inputs:
        raise error

    monkeypatch.setattr(jobs, "build_inputs", fail)
    with pytest.raises(type(error)):
        execute(run, tmp_path)
    assert run.attempts()[-1].record()["outcome"] == outcome
    cause = conclude(make_cells(tmp_path)[0], run, JOB, JobStatus(JobState.ENDED, exit_code=1))
    assert cause is not None
    assert cause.kind is kind


@pytest.mark.parametrize(("reached", "code"), [(2, node.EXIT_FAILED), (3, node.EXIT_INTERRUPTED)])
def test_time_that_was_too_short_for_a_checkpoint_is_no_reason_to_queue_again(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, reached: int, code: int
) -> None:
    def serve(run: RunDir) -> int:
        run.new_attempt().update(resumed_from=2, outcome="interrupted", cause="ended by SIGUSR1")
        raise node.OutOfTime("ended by SIGUSR1")

    monkeypatch.setattr(node, "SIGNALS", ())
    monkeypatch.setattr(node, "serve", serve)
    monkeypatch.setattr(node.progress, "resume_point", lambda run, cell: reached)
    assert node.main([str(run.path)]) == code
    said = run.attempts()[-1].record()
    assert (said.get("cause_kind") == Kind.USER_ERROR.value) is (code == node.EXIT_FAILED)


@pytest.mark.parametrize("record", [{}, {"host": "here", "outcome": "failed"}])
def test_what_a_killed_attempt_left_is_ended_also_when_its_end_is_recorded(run: RunDir, record: Json) -> None:
    dead = run.new_attempt()
    dead.update(**record)
    left = sleeper(jobs.mark(dead))
    attempt.end_leftovers(run)
    assert left.wait(10) != 0


def test_processes_of_others_are_left_alone(run: RunDir) -> None:
    run.new_attempt().update(host="here")
    foreign = sleeper("another-1-00000000")
    attempt.end_leftovers(run)
    assert foreign.poll() is None
    foreign.kill()
    foreign.wait()


def test_children_of_a_process_that_took_the_warm_servers_number_are_not_ours(tmp_path: Path) -> None:
    child = sleeper("another-1-00000000")
    server = psutil.Process()  # this process, whose child is
    job = driver.Job([], {}, tmp_path / "log", "ours-1-00000000", tmp_path)
    handle = driver.Handle(job, child, server)
    assert child.pid in [p.pid for p in handle.processes()]
    server.is_running = lambda: False  # type: ignore[method-assign]
    assert handle.processes() == []
    child.kill()
    child.wait()


def test_a_disk_that_is_full_does_not_let_the_driver_live_on(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(follower: object) -> None:
        raise Interrupted("ended by SIGTERM")

    def full(made: Attempt, **fields: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    made = run.new_attempt()
    process = sleeper(jobs.mark(made))
    handle = driver.Handle(driver.Job([], {}, tmp_path / "log", jobs.mark(made), tmp_path), process, None)
    monkeypatch.setattr(attempt, "_start", lambda *words: handle)
    monkeypatch.setattr(attempt.Follower, "follow", interrupted)
    monkeypatch.setattr(Attempt, "update", full)
    with pytest.raises(OSError, match="No space left"):
        attempt._follow(make_cells(tmp_path)[0], run, made, Request())
    assert process.poll() is not None


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    """A process that carries an attempt's mark."""
    command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    return subprocess.Popen(command, env={processes.MARK: mark}, start_new_session=True)

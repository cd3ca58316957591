"""One attempt of a cell on the machine where it runs: claimed, resumed, followed and recorded."""

from __future__ import annotations

import os
import socket
import time

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import driver, jobs, preflight, processes, remains
from cegppo_verl.launch.causes import Cause, Kind
from cegppo_verl.launch.early_stop import EarlyStop
from cegppo_verl.launch.follow import Follower, Stopped
from cegppo_verl.launch.request import INHERIT, Request
from cegppo_verl.launch.unrecorded import record_the_dead
from cegppo_verl.records import atomic, progress, provenance
from cegppo_verl.records.rundir import GONE, Attempt, Json, RunDir
from cegppo_verl.records.submission import Submission, now

COMPLETED, FAILED, INTERRUPTED, STOPPED = "completed", "failed", "interrupted", "stopped"


class Interrupted(BaseException):
    """The attempt has to end now, in order: a signal from the cluster, the runner or a person."""


def cell_json(cell: Cell) -> Json:
    """The content of ``cell.json``."""
    return {"schema": 1, **cell.model_dump(mode="json")}


def execute(cell: Cell, run: RunDir, submission: Submission | None = None) -> str:
    """One attempt, recorded from beginning to end. Call it with the run's lock held.

    Returns:
        its outcome: completed, failed or stopped.

    Raises:
        Interrupted, KeyboardInterrupt: passed on, after the driver was ended and the attempt recorded.
    """
    request = Request.from_json(submission.request if submission else {})
    end_leftovers(run)
    record_the_dead(run)
    attempt = run.new_attempt()
    attempt.update(**_beginning(run, cell, attempt, submission))
    try:
        return _follow(cell, run, attempt, request)
    except UserError as error:
        return _refused(attempt, error)
    except BaseException as error:
        if "outcome" not in attempt.record():  # ended before there was a driver to follow
            outcome, cause, kind = _ending_of(error)
            attempt.update(ended=now(), outcome=outcome, cause=cause, cause_kind=kind)
        raise
    finally:
        remains.remove(jobs.mark(attempt))


def _beginning(run: RunDir, cell: Cell, attempt: Attempt, submission: Submission | None) -> Json:
    job: Json = {}
    if submission is not None:
        job = {"executor": submission.executor, "job": submission.job, "submission": submission.name}
    return {
        "number": attempt.number,
        "started": now(),
        "resumed_from": progress.resume_point(run, cell_json(cell)),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        **job,
    }


def _follow(cell: Cell, run: RunDir, attempt: Attempt, request: Request) -> str:
    started = time.monotonic()
    handle = _start(cell, run, attempt, request)
    follower = Follower(
        run=run,
        cell=cell_json(cell),
        attempt=attempt,
        handle=handle,
        limits=request.limits,
        early_stop=EarlyStop(request.early_stop),
    )
    try:
        ending = follower.follow()
    except BaseException as error:
        try:  # the record first: whoever asked for the end may lose patience and kill this process, too
            _record(attempt, *_ending_of(error), handle, follower, started)
        finally:  # on a disk that is full there is no record, and the driver must end all the same
            handle.cancel()
        attempt.update(exit_code=handle.poll())
        raise
    outcome = COMPLETED if ending is None else STOPPED if isinstance(ending, Stopped) else FAILED
    kind = ending.kind.value if isinstance(ending, Cause) else None
    _record(attempt, outcome, ending.text if ending else None, kind, handle, follower, started)
    if isinstance(ending, Stopped) and ending.by_rule:
        attempt.update(stopped_by_rule=True)
    return outcome


def _start(cell: Cell, run: RunDir, attempt: Attempt, request: Request) -> driver.Handle:
    preflight.require_locked_versions()
    preflight.require_shared_memory()
    inputs = build_inputs(cell)
    join = request.ray == INHERIT and "RAY_ADDRESS" in os.environ
    resume_from = attempt.record()["resumed_from"]
    job = jobs.job(cell, run, inputs, attempt, resume_from, join=join)
    environment = jobs.platform_environment(cell)
    text = jobs.command_text(cell, job.arguments, {**environment, **job.environment})
    atomic.write_text(attempt.path / "command.txt", jobs.portable(text, run) + "\n")
    origin = provenance.collect()
    if request.command:  # what a person typed, not how the runner started this process
        origin["command"] = list(request.command)
    run.update_manifest(schema=1, cell=cell.id, engine=catalog.scale(cell.scale).trainer, **origin)
    # Kept with the attempt, too: the manifest tells of the newest one only.
    attempt.update(provenance=origin)
    return driver.start(job, environment, request.interpreter)


def build_inputs(cell: Cell) -> jobs.Inputs:
    """Model and data, built where they are missing.

    Raises:
        UserError: a file that the user must provide is missing, or building failed.
    """
    inputs = jobs.build_inputs(cell)
    preflight.require_paths({f"{cell.scale}.input[{i}]": p for i, p in enumerate(inputs.files())})
    return inputs


def end_leftovers(run: RunDir) -> None:
    """End what a killed attempt left on this machine: the lock is held here, so it is nobody's.

    A node side that recorded its own end took its host out; where it still stands, somebody else may have
    written the outcome.
    """
    for attempt in run.attempts():
        record = attempt.record()
        if "outcome" not in record or "host" in record:
            left = processes.marked(jobs.mark(attempt))
            processes.end(processes.with_descendants(left), grace=5.0)
            remains.remove(jobs.mark(attempt))


def _refused(attempt: Attempt, error: UserError) -> str:
    text = " ".join(str(error).split())
    attempt.update(ended=now(), outcome=FAILED, cause=text, cause_kind=Kind.USER_ERROR.value)
    return FAILED


def _ending_of(error: BaseException) -> tuple[str, str, str | None]:
    """Outcome, cause and kind. An error of the node side's own is no interruption: it may come each time."""
    if isinstance(error, Interrupted):
        return INTERRUPTED, str(error), None
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted by the user", None
    kind = Kind.NODE_LOST if isinstance(error, OSError) else Kind.CODE_ERROR
    return FAILED, f"the node side failed: {type(error).__name__}: {error}", kind.value


def _record(
    attempt: Attempt,
    outcome: str,
    cause: str | None,
    kind: str | None,
    handle: driver.Handle,
    follower: Follower,
    started: float,
) -> None:
    attempt.update(
        ended=now(),
        seconds=round(time.monotonic() - started, 1),
        outcome=outcome,
        cause=cause,
        cause_kind=kind,
        exit_code=handle.poll(),
        peak_memory_bytes=follower.peak_memory,
        host=GONE,  # of use while it lives; in a record that is published it says too much
        pid=GONE,
    )

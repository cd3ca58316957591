"""Handing a cell over to an executor so that it is handed over once, however many runners there are."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum

import psutil

from cegppo_verl.launch.executors.base import Executor, NameTakenError, Task
from cegppo_verl.launch.request import Request
from cegppo_verl.records import submission
from cegppo_verl.records.rundir import ALIVE_SECONDS, RunDir
from cegppo_verl.records.submission import Submission

GUARD = "submit.lock"
PATIENCE = 10.0


class Claim(Enum):
    """Who has a cell that is not done."""

    FREE = "free"  # nobody: it may be submitted
    OURS = "ours"  # a job of this executor that may be alive: to be watched
    BUSY = "busy"  # another runner, or another executor


@contextlib.contextmanager
def guard(run: RunDir) -> Iterator[bool]:
    """Held while a submission is decided on; yields false when another runner holds it too long.

    Raises:
        OSError: the run directory cannot be written, e.g. another person's.
    """
    descriptor = os.open(run.path / GUARD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)


def claim(run: RunDir, executor: Executor) -> Claim:
    """Who has the cell, from its files and the executor's word."""
    current = submission.read(run)
    if current is not None and current.refused and executor.detached and current.executor == executor.name:
        return (
            Claim.FREE
        )  # if a job runs, only its answer was lost: handing it over again finds it by its name
    if current is None or current.ended is not None:
        return Claim.BUSY if is_executed(run) else Claim.FREE
    if current.executor != "local":
        return Claim.OURS if current.executor == executor.name else Claim.BUSY
    return _local_claim(run, current, executor)


def _local_claim(run: RunDir, current: Submission, executor: Executor) -> Claim:
    """Of a cell that some runner had on its own machine: when that runner is dead, its node side soon is."""
    here = current.runner.get("host") == socket.gethostname()
    if here and _runner_lives(current):
        return Claim.BUSY
    if not is_executed(run):
        return Claim.FREE
    return Claim.OURS if here and executor.name == "local" else Claim.BUSY


def is_executed(run: RunDir) -> bool:
    """Whether a node side is at the cell: by its lock, or by a sign of life where locks do not reach."""
    if run.is_locked():
        return True
    attempts = run.attempts()
    if not attempts or "outcome" in attempts[-1].record():
        return False
    alive = attempts[-1].alive_file
    try:
        here = alive.read_text().strip() == socket.gethostname()  # here the lock tells all
        return not here and abs(time.time() - alive.stat().st_mtime) < ALIVE_SECONDS
    except OSError:
        return False


def _runner_lives(current: Submission) -> bool:
    """Whether the runner that submitted it, on this machine, is another living process."""
    pid = current.runner.get("pid")
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    return _born(pid) is not None and _born(pid) == current.runner.get("born")


def _born(pid: int) -> float | None:
    """When a process began: together with its number it names the process, as a number alone does not."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def is_newest(run: RunDir, job: Submission) -> bool:
    """Whether ``job`` is still the cell's open submission. Ask with the guard held."""
    current = submission.read(run)
    return current is not None and current.name == job.name and current.ended is None


def next_name(run: RunDir, cell_id: str) -> tuple[str, int]:
    """Name and number of the next submission.

    A refused name is used again: where only the answer was lost, the job is found by it, not made twice.
    """
    current = submission.read(run)
    number = (current.number + (not current.refused)) if current else 1
    return job_name(run, cell_id, number), number


def job_name(run: RunDir, cell_id: str, number: int) -> str:
    """The name of a cell's submission. The folder is in it: the same cell below two ``--results`` has two."""
    place = hashlib.sha256(str(run.path.resolve()).encode()).hexdigest()[:6]
    return f"cegppo-{cell_id}-{place}-{number}"


def hand_over(executor: Executor, task: Task, number: int, request: Request) -> Submission:
    """Record the intent, submit, record the scheduler's id. Call it with the guard held.

    Raises:
        NameTakenError: the name was used before this folder was made; :func:`next_name` says the next one.
        SubmitError: the scheduler refuses; the submission is recorded as ended.
    """
    known = submission.read(run := task.run)
    fresh = known is None or known.name != task.name
    runner = {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid())}
    intent = Submission(
        name=task.name,
        number=number,
        executor=executor.name,
        submitted=submission.now(),
        runner=runner,
        request=request.to_json(),
    )
    submission.write(run, intent)
    try:
        job = executor.submit(replace(task, fresh=fresh))
    except BaseException as error:
        if isinstance(error, Exception):
            again = not isinstance(error, NameTakenError)  # whether the name is to be used again
            submission.update(run, intent, ended=submission.now(), reason=str(error), refused=again)
        raise
    return submission.update(run, intent, job=job)

"""What came of a job that is over at its scheduler: from the files, and where they are silent, its words."""

from __future__ import annotations

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.attempt import FAILED, INTERRUPTED, STOPPED, cell_json
from cegppo_verl.launch.causes import Cause, Kind
from cegppo_verl.launch.executors.base import JobStatus
from cegppo_verl.launch.node import EXIT_BUSY, EXIT_STORAGE
from cegppo_verl.records import progress, submission
from cegppo_verl.records.rundir import Attempt, RunDir
from cegppo_verl.records.submission import Submission

# What schedulers say, as far as it decides whether trying again can help.
REASONS: dict[str, Kind] = {
    "OUT_OF_MEMORY": Kind.MEMORY,
    "OOMKILLED": Kind.MEMORY,
    "NODE_FAIL": Kind.NODE_LOST,
    "BOOT_FAIL": Kind.NODE_LOST,
    "PREEMPTED": Kind.PREEMPTED,
    "TIMEOUT": Kind.PREEMPTED,  # the scheduler's time limit: what is recorded stays, the rest is resumed
    "DEADLINE": Kind.USER_ERROR,
    "CANCELLED": Kind.USER_ERROR,
    "STOPPED": Kind.USER_ERROR,
}
NO_STORAGE = Cause(
    "the records could not be written: their disk is full, over quota, read-only or failing", Kind.USER_ERROR
)


def conclude(cell: Cell, run: RunDir, job: Submission, status: JobStatus) -> Cause | None:
    """The cause of a job's end; None when the cell is done or was stopped on purpose.

    A job that died without a word gets its attempt recorded here. Call it when nobody holds the cell's lock.
    """
    cause = _cause(cell, run, job, status)
    submission.update(run, job, ended=submission.now(), reason=cause.text if cause else status.reason)
    return cause


def _cause(cell: Cell, run: RunDir, job: Submission, status: JobStatus) -> Cause | None:
    if progress.missing(run, cell_json(cell)) is None:
        return None
    mine = [a for a in run.attempts() if a.record().get("submission") == job.name]
    if status.exit_code == EXIT_STORAGE and (not mine or "outcome" not in mine[-1].record()):
        return _silent(mine[-1] if mine else _claimed(run, job), NO_STORAGE)
    if not mine:
        if status.exit_code == EXIT_BUSY:
            return Cause("another process executes this cell, left alone", Kind.USER_ERROR)
        return _silent(_claimed(run, job), _never_began(status))
    record = mine[-1].record()
    if "outcome" not in record:
        return _silent(mine[-1], _lost(status))
    if record["outcome"] == STOPPED:
        return None
    if record["outcome"] == INTERRUPTED:
        return Cause(str(record.get("cause")), _kind(status.reason) or Kind.PREEMPTED)
    if record["outcome"] == FAILED:
        return Cause(str(record.get("cause")), Kind(record.get("cause_kind") or Kind.UNKNOWN.value))
    return Cause(progress.missing(run, cell_json(cell)) or "not complete", Kind.UNKNOWN)


def _claimed(run: RunDir, job: Submission) -> Attempt:
    """An attempt for a job whose node side never began, so that its failure is on record."""
    attempt = run.new_attempt()
    attempt.update(
        number=attempt.number,
        started=job.submitted,
        resumed_from=None,
        executor=job.executor,
        job=job.job,
        submission=job.name,
    )
    return attempt


def _silent(attempt: Attempt, cause: Cause) -> Cause:
    attempt.update(ended=submission.now(), outcome=FAILED, cause=cause.text, cause_kind=cause.kind.value)
    return cause


def _lost(status: JobStatus) -> Cause:
    said = f" ({status.reason})" if status.reason else ""
    kind = _kind(status.reason) or Kind.NODE_LOST
    what = "the node side was killed" if kind is Kind.NODE_LOST else "the job ended"
    return Cause(f"{what} without a word{said}", kind)


def _never_began(status: JobStatus) -> Cause:
    said = status.reason or (
        f"exit code {status.exit_code}" if status.exit_code is not None else "no reason given"
    )
    kind = _kind(status.reason)
    if kind is None:  # e.g. an interpreter that is not there: it will not be there next time
        kind = Kind.USER_ERROR if status.exit_code else Kind.NODE_LOST
    return Cause(f"the job ended before the cell began ({said}); see the job's own output", kind)


def _kind(reason: str | None) -> Kind | None:
    words = (reason or "").upper()
    return next((kind for word, kind in REASONS.items() if word in words), None)

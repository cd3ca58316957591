"""What came of a job that is over at its scheduler: from the files, and where they are silent, its words."""

from __future__ import annotations

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.attempt import FAILED, INTERRUPTED, STOPPED, cell_json
from cegppo_verl.launch.causes import OUT_OF_TIME, Cause, Kind
from cegppo_verl.launch.executors.base import JobStatus
from cegppo_verl.launch.node import EXIT_BUSY, EXIT_STORAGE
from cegppo_verl.launch.unrecorded import record
from cegppo_verl.records import marks, progress, submission
from cegppo_verl.records.rundir import Attempt, Json, RunDir
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
SIGNALLED = 128  # a shell's exit code for signal n is 128 + n, Python's is -n
NO_STORAGE = Cause(
    "the records could not be written: their disk is full, over quota, read-only or failing", Kind.USER_ERROR
)


def conclude(
    cell: Cell, run: RunDir, job: Submission, status: JobStatus, *, taken_back: bool = False
) -> Cause | None:
    """The cause of a job's end; None when the cell is done or was stopped on purpose.

    A job that died without a word gets its attempt recorded here. Call it when nobody holds the cell's lock.

    Args:
        taken_back: the runner cancelled it itself, so that its end before it began is no failure.
    """
    if taken_back and not _attempts_of(run, job):
        cause: Cause | None = Cause("taken back before the cell began", Kind.PREEMPTED)
    else:
        cause = _cause(cell, run, job, status)
    submission.update(run, job, ended=submission.now(), reason=cause.text if cause else status.reason)
    return cause


def _cause(cell: Cell, run: RunDir, job: Submission, status: JobStatus) -> Cause | None:
    if progress.missing(run, cell_json(cell)) is None:
        return None
    mine = _attempts_of(run, job)
    if status.exit_code == EXIT_STORAGE and (not mine or "outcome" not in mine[-1].record()):
        return record(mine[-1] if mine else _claimed(run, job), NO_STORAGE)
    if not mine:
        if status.exit_code == EXIT_BUSY:
            return Cause("another process executes this cell, left alone", Kind.USER_ERROR)
        if marks.stop_request(run) is not None:
            return None  # taken back before it began, or it began and saw the mark
        return record(_claimed(run, job), _never_began(status))
    said = mine[-1].record()
    if "outcome" not in said:
        return record(mine[-1], _out_of_time(cell, run, said, status) or _lost(status))
    if said["outcome"] == STOPPED:
        return None
    if said["outcome"] == INTERRUPTED:
        return _out_of_time(cell, run, said, status) or Cause(
            str(said.get("cause")), _kind(status.reason) or Kind.PREEMPTED
        )
    if said["outcome"] == FAILED:
        return Cause(str(said.get("cause")), Kind(said.get("cause_kind") or Kind.UNKNOWN.value))
    return Cause(progress.missing(run, cell_json(cell)) or "not complete", Kind.UNKNOWN)


def _attempts_of(run: RunDir, job: Submission) -> list[Attempt]:
    return [a for a in run.attempts() if a.record().get("submission") == job.name]


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


def _lost(status: JobStatus) -> Cause:
    said = f" ({status.reason})" if status.reason else ""
    kind = _kind(status.reason) or Kind.NODE_LOST
    what = "the node side was killed" if kind is Kind.NODE_LOST else "the job ended"
    return Cause(f"{what} without a word{said}", kind)


def _out_of_time(cell: Cell, run: RunDir, said: Json, status: JobStatus) -> Cause | None:
    """The scheduler's time limit, reached without a new checkpoint: trying again would do it all again."""
    if "TIMEOUT" not in (status.reason or "").upper():
        return None
    if progress.resume_point(run, cell_json(cell)) > (said.get("resumed_from") or 0):
        return None
    return OUT_OF_TIME


def _never_began(status: JobStatus) -> Cause:
    said = status.reason or (
        f"exit code {status.exit_code}" if status.exit_code is not None else "no reason given"
    )
    kind = _kind(status.reason)
    if kind is None:  # e.g. an interpreter that is not there: it will not be there next time
        refused = status.exit_code is not None and 0 < status.exit_code < SIGNALLED
        kind = Kind.USER_ERROR if refused else Kind.NODE_LOST
    return Cause(f"the job ended before the cell began ({said}); see the job's own output", kind)


def _kind(reason: str | None) -> Kind | None:
    words = (reason or "").upper()
    return next((kind for word, kind in REASONS.items() if word in words), None)

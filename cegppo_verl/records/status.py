"""The state of a cell, derived from its files each time it is asked for; stored nowhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cegppo_verl.records import facts, liveness, marks, submission
from cegppo_verl.records.facts import Facts
from cegppo_verl.records.liveness import last_sign_of_life
from cegppo_verl.records.metric_digest import ACCURACY, ENTROPY
from cegppo_verl.records.progress import Goal
from cegppo_verl.records.rundir import Attempt, Json, RunDir
from cegppo_verl.records.submission import Submission

STALL_SECONDS = 600.0

PLANNED, RUNNING, STALLED, FAILED, DONE = "planned", "running", "stalled", "failed", "done"
QUEUED, STOPPED = "queued", "stopped"
STATES = (DONE, RUNNING, STALLED, QUEUED, PLANNED, STOPPED, FAILED)
LIVE = (RUNNING, STALLED)


@dataclass(frozen=True)
class Status:
    """State of one cell. Two are equal when state, steps and reason are.

    Attributes:
        state: planned, queued, running, stalled, failed, stopped or done.
        step: last step up to which everything is logged.
        total: planned steps.
        why: what is missing or went wrong, one line; None when done.
        attempt: number of the newest attempt; 0 before the first.
        executor, job: who executes it, and the scheduler's id; None where unknown.
        since: ISO time of the newest event: submitted, started or ended.
        seconds: of all attempts together.
        pace: mean seconds per step, evaluations included; None before the first step.
        last: newest numbers by name: accuracy, entropy, train_score, memory_gb, mfu, tokens_per_second.
    """

    state: str
    step: int
    total: int
    why: str | None = None
    attempt: int = field(default=0, compare=False)
    executor: str | None = field(default=None, compare=False)
    job: str | None = field(default=None, compare=False)
    since: str | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)
    pace: float | None = field(default=None, compare=False)
    last: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def accuracy(self) -> float | None:
        """Of the last validation, mean over benchmarks."""
        return self.last.get(ACCURACY)

    @property
    def entropy(self) -> float | None:
        """Of the last logged step."""
        return self.last.get(ENTROPY)

    def text(self) -> str:
        """For people: ``running, step 7 of 24``."""
        place = f"step {self.step} of {self.total}" if self.state != DONE else f"{self.total} steps"
        return f"{self.state}, {place}" + (f": {self.why}" if self.why else "")


def status_of(
    run: RunDir, cell: Json, stall_seconds: float = STALL_SECONDS, *, own_lock: bool = False
) -> Status:
    """Derive the state of ``cell`` from what is in ``run``.

    Args:
        own_lock: the caller holds the lock and asks between attempts, so the lock says nothing.
        stall_seconds: a running cell whose files have not grown for so long counts as stalled.
    """
    goal = Goal.of(cell)
    if not run.path.is_dir():
        return Status(PLANNED, 0, goal.total)
    return derive(run, goal, facts.read(run, goal), stall_seconds, own_lock=own_lock)


def beside(goal: Goal, known: Facts) -> Status:
    """The status of a done cell; of any other, all but its state and reason."""
    record = known.record
    return Status(
        DONE,
        goal.total if known.why is None else known.step,
        goal.total,
        attempt=known.attempt,
        executor=record.get("executor"),
        job=record.get("job"),
        since=record.get("ended") or record.get("started"),
        seconds=known.seconds,
        pace=known.pace,
        last=known.last,
    )


def derive(
    run: RunDir, goal: Goal, known: Facts, stall_seconds: float = STALL_SECONDS, *, own_lock: bool = False
) -> Status:
    """The state of a run directory that exists, from its facts, its lock and the marks in it."""
    shown, record = beside(goal, known), known.record
    if known.why is None:
        return shown
    attempt = (
        Attempt(known.attempt, run.path / "attempts" / f"{known.attempt:03d}") if known.attempt else None
    )
    if attempt is not None and "outcome" not in record:
        shown = replace(shown, seconds=shown.seconds + facts.seconds_of(attempt, record))
    if not own_lock and liveness.is_live(run, attempt, record):
        return _live(run, shown, stall_seconds)
    return _idle(run, shown, known)


def _live(run: RunDir, shown: Status, stall_seconds: float) -> Status:
    quiet = time.time() - last_sign_of_life(run)
    if quiet > stall_seconds:
        return replace(shown, state=STALLED, why=f"nothing written for {quiet / 60:.0f} min")
    request = marks.stop_request(run)
    why = None if request is None else f"is being stopped ({_asked(request)})"
    return replace(shown, state=RUNNING, why=why)


def _idle(run: RunDir, shown: Status, known: Facts) -> Status:
    """Nobody executes it: a waiting job counts first, then what a person asked for, then the record."""
    job = submission.read(run)
    request = marks.stop_request(run)
    if job is not None and _waits(job, known):
        why = f"is being stopped ({_asked(request)})" if request is not None else None
        return replace(shown, state=QUEUED, why=why, executor=job.executor, job=job.job, since=job.submitted)
    if request is not None:
        return replace(shown, state=STOPPED, why=_asked(request))
    if known.attempt and marks.retry_file(run).exists():
        return replace(shown, state=PLANNED, why="a new try was asked for; the next run makes it")
    state, why = _recorded(known)
    return replace(shown, state=state, why=why)


def _waits(job: Submission, known: Facts) -> bool:
    """Whether a job may still begin the cell: it has not ended and made no attempt.

    A job of this machine dies with its runner, and a dead runner cannot say so.
    """
    if job.ended is not None or known.record.get("submission") == job.name:
        return False
    return not (job.executor == "local" and liveness.is_dead_here(job.runner))


def _asked(request: Mapping[str, Any]) -> str:
    why = request.get("why")
    return f"stop asked for by {request.get('by') or 'somebody'}" + (f": {why}" if why else "")


def _recorded(known: Facts) -> tuple[str, str | None]:
    """State and reason from how the newest attempt ended."""
    outcome, cause = known.record.get("outcome"), known.record.get("cause")
    if not known.attempt:
        return PLANNED, None
    if outcome == "interrupted":
        return PLANNED, "interrupted; the next run resumes it"
    if outcome is None:
        return PLANNED, "its runner was killed; the next run resumes it"
    if outcome == "stopped":
        return STOPPED, cause or "stopped"
    return FAILED, cause or known.why


__all__ = ["DONE", "FAILED", "LIVE", "PLANNED", "QUEUED", "RUNNING", "STALLED", "STATES", "STOPPED"]
__all__ += ["Status", "derive", "last_sign_of_life", "status_of"]

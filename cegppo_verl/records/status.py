"""The state of a cell, derived from its files each time it is asked for; stored nowhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.records import progress
from cegppo_verl.records.rundir import Json, RunDir

STALL_SECONDS = 600.0

PLANNED, RUNNING, STALLED, FAILED, DONE = "planned", "running", "stalled", "failed", "done"


@dataclass(frozen=True)
class Status:
    """State of one cell.

    Attributes:
        state: planned, running, stalled, failed or done.
        step: last step up to which everything is logged.
        total: planned steps.
        why: what is missing or went wrong, one line; None when done.
    """

    state: str
    step: int
    total: int
    why: str | None = None

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
        stall_seconds: a locked cell whose files have not grown for so long counts as stalled.
    """
    total = int(cell["settings"]["total_steps"])
    step = _contiguous(progress.trained_steps(run))
    if not run.path.is_dir():
        return Status(PLANNED, 0, total)
    why = progress.missing(run, cell)
    if why is None:
        return Status(DONE, total, total)
    if not own_lock and run.is_locked():
        return _locked(run, step, total, stall_seconds)
    return _unlocked(run, step, total, why)


def _contiguous(steps: set[int]) -> int:
    step = 0
    while step + 1 in steps:
        step += 1
    return step


def _locked(run: RunDir, step: int, total: int, stall_seconds: float) -> Status:
    quiet = time.time() - last_sign_of_life(run)
    if quiet > stall_seconds:
        return Status(STALLED, step, total, f"nothing written for {quiet / 60:.0f} min")
    return Status(RUNNING, step, total)


def _unlocked(run: RunDir, step: int, total: int, why: str) -> Status:
    attempts = run.attempts()
    if not attempts:
        return Status(PLANNED, 0, total)
    record = attempts[-1].record()
    outcome = record.get("outcome")
    if outcome == "interrupted":
        return Status(PLANNED, step, total, "interrupted; the next run resumes it")
    if outcome is None:
        return Status(PLANNED, step, total, "its runner was killed; the next run resumes it")
    return Status(FAILED, step, total, record.get("cause") or why)


def last_sign_of_life(run: RunDir) -> float:
    """Newest modification time of the newest attempt and the evaluations, seconds since the epoch."""
    attempts = run.attempts()
    files: list[Path] = list(run.validation.glob("*.jsonl"))
    if attempts:
        files += [attempts[-1].metrics_file, attempts[-1].log_file, attempts[-1].path]
    times = [f.stat().st_mtime for f in files if f.exists()]
    return max(times, default=time.time())

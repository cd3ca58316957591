"""Attempts that died before they could say how they ended: somebody else writes it down."""

from __future__ import annotations

import datetime
from pathlib import Path

from cegppo_verl.launch.causes import Cause, Kind
from cegppo_verl.records.rundir import Attempt, RunDir
from cegppo_verl.records.submission import now

FAILED = "failed"
KILLED = Cause("ended without a word: it was killed, or its machine went down", Kind.NODE_LOST)


def record_the_dead(run: RunDir) -> None:
    """Give every attempt without an outcome one. Call it with the run's lock held: none of them lives."""
    for attempt in run.attempts():
        if "outcome" not in attempt.record():
            record(attempt, KILLED)


def record(attempt: Attempt, cause: Cause) -> Cause:
    """Write down that ``attempt`` failed of ``cause``, and how long it had worked, as budgets count that."""
    attempt.update(
        number=attempt.number,
        ended=now(),
        outcome=FAILED,
        cause=cause.text,
        cause_kind=cause.kind.value,
        seconds=_seconds(attempt),
    )
    return cause


def _seconds(attempt: Attempt) -> float:
    """From its start to its last sign of life; 0.0 when either is unknown."""
    try:
        started = datetime.datetime.fromisoformat(str(attempt.record().get("started"))).timestamp()
    except ValueError:
        return 0.0
    signs = [_modified(f) for f in (attempt.alive_file, attempt.metrics_file, attempt.log_file)]
    return round(max(0.0, max(signs) - started), 1)


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0

"""Marks that a person leaves in a run directory for whoever runs the cell: stop it, or try it again.

Files, so that they work from any machine that sees the directory and reach a runner that is already going.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cegppo_verl.records import atomic, submission
from cegppo_verl.records.rundir import Json, RunDir, read_json


def stop_file(run: RunDir) -> Path:
    """Its presence stops the cell: the attempt ends in order, and nobody starts another."""
    return run.path / "stop.json"


def retry_file(run: RunDir) -> Path:
    """Its presence gives a cell that failed for good a new set of tries, once."""
    return run.path / "retry.json"


def request_stop(run: RunDir, by: str, why: str | None = None) -> None:
    """Ask for the end of a cell, whoever runs it."""
    atomic.write_json(stop_file(run), {"by": by, "why": why, "at": submission.now()})
    with contextlib.suppress(OSError):  # the later wish counts
        retry_file(run).unlink()


def stop_request(run: RunDir) -> Json | None:
    """Who asked for the end and when; None when nobody did."""
    return (read_json(stop_file(run)) or {}) if stop_file(run).exists() else None


def request_retry(run: RunDir, by: str) -> None:
    """Take a stop mark away and give the cell a new set of tries."""
    clear(run)
    atomic.write_json(retry_file(run), {"by": by, "at": submission.now()})


def take_retry(run: RunDir) -> bool:
    """Whether a retry was asked for, and no stop since; the mark is removed."""
    if stop_file(run).exists():
        return False
    try:
        retry_file(run).unlink()
    except OSError:
        return False
    return True


def clear(run: RunDir) -> None:
    """Remove both marks."""
    for file in (stop_file(run), retry_file(run)):
        with contextlib.suppress(OSError):
            file.unlink()

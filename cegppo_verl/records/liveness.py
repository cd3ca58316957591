"""Whether somebody executes a cell now: a lock, or a fresh sign of life where locks cannot be seen."""

from __future__ import annotations

import os
import socket
import time
from functools import cache
from pathlib import Path

from cegppo_verl.records.rundir import ALIVE_SECONDS, Attempt, Json, RunDir


def is_live(run: RunDir, attempt: Attempt | None, record: Json) -> bool:
    """Whether ``run`` is locked, or its newest attempt, of this ``record``, has a heart that beats."""
    return run.is_locked() or (attempt is not None and beats(attempt, record))


def beats(attempt: Attempt, record: Json) -> bool:
    """Whether an attempt that has no outcome gave a sign of life within 90 s.

    A lock on network storage may not be seen from another host, so a process there is believed by its file.
    A process of this host that is gone is not, and neither is a time more than 90 s in the future: clocks
    jump, and a cell must not seem to run until they have caught up.
    """
    if "outcome" in record or is_dead_here(record):
        return False
    try:
        age = time.time() - attempt.alive_file.stat().st_mtime
    except OSError:
        return False
    return abs(age) <= ALIVE_SECONDS


def is_dead_here(record: Json) -> bool:
    """Whether ``host`` is this machine and ``pid`` no process of it."""
    pid = record.get("pid")
    if record.get("host") != _host() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@cache
def _host() -> str:
    return socket.gethostname()


def last_sign_of_life(run: RunDir) -> float:
    """Newest modification time of the newest attempt and the evaluations, seconds since the epoch."""
    attempts = run.attempts()
    files: list[Path] = list(run.validation.glob("*.jsonl"))
    if attempts:
        files += [attempts[-1].metrics_file, attempts[-1].log_file, attempts[-1].path]
    now = time.time()
    times = [f.stat().st_mtime for f in files if f.exists()]
    return max((t for t in times if t <= now + ALIVE_SECONDS), default=now)

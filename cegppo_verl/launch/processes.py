"""Finding and ending the processes of one attempt, and no others."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

MARK = "CEGPPO_ATTEMPT"


def marked(mark: str, variable: str = MARK) -> list[psutil.Process]:
    """Processes of ours whose environment carries ``variable=mark``: the driver and what it started cold.

    Forks of the warm server show the server's environment; they are its descendants and found as such.
    """
    needle = f"{variable}={mark}".encode()
    found = (living(pid) for pid in _numbers() if needle in _environment(pid).split(b"\0"))
    return [process for process in found if process is not None]


def _numbers() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


def living(pid: int) -> psutil.Process | None:
    """The process of that number, None when there is none."""
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def descendants(pid: int) -> list[psutil.Process]:
    """All living descendants of ``pid``."""
    root = living(pid)
    return [] if root is None else _below([root])


def with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes and everything below them, each once, never this process."""
    given = list(processes)
    found = {process.pid: process for process in [*given, *_below(given)]}
    found.pop(os.getpid(), None)
    return list(found.values())


def _below(roots: list[psutil.Process]) -> list[psutil.Process]:
    """Everything below the roots, after one look at the machine: a look per root is most of what a cell's
    watching costs, as a run has fifty processes. No age decides, as clocks are set: a living process' parent
    is what the kernel says, and a root whose number is another's now has none here."""
    children: dict[int, list[int]] = {}
    for pid in _numbers():
        children.setdefault(_parent(pid), []).append(pid)
    waiting = [root.pid for root in roots if root.is_running()]
    seen: dict[int, None] = {}
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), ()) if pid not in seen]
        seen.update(dict.fromkeys(new))
        waiting += new
    return [process for process in map(living, seen) if process is not None]


def _parent(pid: int) -> int:
    """Of a process; 0 when it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def end(processes: list[psutil.Process], grace: float) -> None:
    """SIGTERM, then SIGKILL after ``grace`` seconds; psutil leaves a pid alone that was reused meanwhile."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    alive = still_alive(processes, grace)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    still_alive(alive, 5)


def still_alive(processes: list[psutil.Process], patience: float) -> list[psutil.Process]:
    """Those that live on after at most ``patience`` seconds.

    Not ``psutil.wait_procs``: it reaps our children, and their ``Popen`` would then report exit code 0.
    """
    deadline = time.monotonic() + patience
    while (alive := [p for p in processes if _is_alive(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def proportional_memory(processes: Iterable[psutil.Process]) -> int:
    """Bytes of physical memory, a page shared by n processes counted 1/n for each (PSS)."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            total += 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total

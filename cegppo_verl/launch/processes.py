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
    return [p for p in psutil.process_iter() if needle in _environment(p.pid).split(b"\0")]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def descendants(pid: int) -> list[psutil.Process]:
    """All living descendants of ``pid``."""
    try:
        return _below([psutil.Process(pid)])
    except psutil.NoSuchProcess:
        return []


def with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes and everything below them, each once, never this process."""
    given = list(processes)
    found = {process.pid: process for process in [*given, *_below(given)]}
    found.pop(os.getpid(), None)
    return list(found.values())


def _below(roots: list[psutil.Process]) -> list[psutil.Process]:
    """Everything below the roots, after one look at the machine: a look per root is most of what a cell's
    watching costs, as a run has fifty processes."""
    children: dict[int | None, list[psutil.Process]] = {}
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process)
    found: dict[int, psutil.Process] = {}
    waiting = list(roots)
    while waiting:
        parent = waiting.pop()
        for child in children.get(parent.pid, ()):
            if child.pid not in found and _is_older(parent, child):
                found[child.pid] = child
                waiting.append(child)
    return list(found.values())


def _is_older(parent: psutil.Process, child: psutil.Process) -> bool:
    """Whether the parent is one: a number that was given anew belongs to a process younger than the child."""
    try:
        return bool(parent.create_time() <= child.create_time())
    except psutil.Error:
        return False


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

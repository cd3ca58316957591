"""What a runner costs while nothing happens: its share of one core, and its memory.

    python -m cegppo_verl.bench.runner_idle [--cells 10000] [--at-work 1000] [--seconds 60] [--plain]
    python -m cegppo_verl.bench.runner_idle --pid N [--seconds 60]

With ``--pid``, of any process. Otherwise of a runner started for it, whose grid and jobs are those of
bench/idle_grid.py, with the live table, which costs more, and if asked with plain lines, too. It looks every
half a minute at most when the grid is large, so watch for many times that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from cegppo_verl.bench.idle_grid import SETTLED
from cegppo_verl.errors import UserError

REQUIRED_SHARE, REQUIRED_BYTES = 0.01, 500 * 10**6
VIEWS = ("live", "plain")
PATIENCE = 600.0  # seconds, for the runner to make the directories and start everything


def share_of_core(pid: int, seconds: float = 20.0) -> dict[str, float]:
    """Watch a process and its descendants.

    Returns:
        ``share``: CPU seconds over wall seconds, 0.01 is 1 % of one core. ``memory_bytes``: resident, of the
        process alone, at the end.

    Raises:
        UserError: no such process, or it ended meanwhile.
    """
    try:
        process = psutil.Process(pid)
        before, begun = _cpu_seconds(process), time.monotonic()
        time.sleep(seconds)
        used, took = _cpu_seconds(process) - before, time.monotonic() - begun
        return {"share": used / took, "memory_bytes": process.memory_info().rss}
    except psutil.Error as error:
        raise UserError(f"process {pid} cannot be watched: {error}") from None


def _cpu_seconds(process: psutil.Process) -> float:
    """Of the process, its children that have ended, and its descendants that live."""
    own = process.cpu_times()
    below = [_own_seconds(child) for child in process.children(recursive=True)]
    return float(own.user + own.system + own.children_user + own.children_system + sum(below))


def _own_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # ended just now: counted with its parent's children from here on
        return 0.0
    return float(times.user + times.system)


def measure(
    cells: int = 10_000, at_work: int = 1000, seconds: float = 60.0, views: Sequence[str] = VIEWS[:1]
) -> dict[str, Any]:
    """Measure runners that have nothing to do, and print the table; a few minutes.

    Args:
        cells, at_work: of the grid, and how many of them have a job.
        seconds: watched, per view.
        views: any of "live" and "plain".

    Returns:
        ``share``, ``memory_bytes`` and ``begin_s`` (from the command to everything started) by view, and the
        settings.

    Raises:
        UserError: a runner ended, or did not start everything in ten minutes.
    """
    result: dict[str, Any] = {"cells": cells, "at_work": at_work, "seconds": seconds}
    for view in views:
        with tempfile.TemporaryDirectory(prefix="cegppo-idle-") as folder:
            for key, value in _watched(Path(folder), cells, at_work, view, seconds).items():
                result.setdefault(key, {})[view] = value
    _print(result)
    return result


def _watched(folder: Path, cells: int, at_work: int, view: str, seconds: float) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "cegppo_verl.bench.idle_grid",
        str(folder),
        str(cells),
        str(at_work),
        view,
    ]
    begun = time.monotonic()
    with (folder / "errors").open("wb") as errors:
        runner = subprocess.Popen(command, stdout=errors, stderr=errors)
    try:
        _await(folder, runner)
        took = time.monotonic() - begun
        return {"begin_s": took} | share_of_core(runner.pid, seconds)
    finally:
        runner.kill()  # its jobs are files: there is nothing to end in order
        runner.wait()


def _await(folder: Path, runner: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (folder / SETTLED).exists():
        if runner.poll() is not None:
            raise UserError(f"the runner ended: {(folder / 'errors').read_text(errors='replace')[-500:]}")
        if time.monotonic() > deadline:
            raise UserError(f"the runner had not started everything after {PATIENCE:.0f} s")
        time.sleep(0.1)


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"Idle runner, {result['cells']:,} cells, {result['at_work']:,} of them with a job"
    table = Table(title=f"{title}, watched for {result['seconds']:g} s")
    for place, column in enumerate(("view", "of a core, %", "memory, MB", "until all had started, s")):
        table.add_column(column, justify="right" if place else "left")
    for view in result["share"]:
        share, memory = result["share"][view] * 100, result["memory_bytes"][view] / 1e6
        table.add_row(view, f"{share:.2f}", f"{memory:.0f}", f"{result['begin_s'][view]:.1f}")
    Console().print(table)
    Console().print(f"required: < {REQUIRED_SHARE:.0%} of a core, < {REQUIRED_BYTES / 1e6:.0f} MB")


def main() -> None:
    """Command line of the benchmark; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--at-work", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--pid", type=int)
    args = parser.parse_args()
    if args.pid is None:
        measure(args.cells, args.at_work, args.seconds, VIEWS if args.plain else VIEWS[:1])
    else:
        print(share_of_core(args.pid, args.seconds))


if __name__ == "__main__":
    main()

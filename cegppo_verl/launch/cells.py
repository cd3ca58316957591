"""Where a cell's records are, and its state."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.environment_checks import machine
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.status import Status, status_of

FOLDERS_LOCK = ".folders.lock"
SLOW_SCAN = 0.02  # seconds: quicker ones are not kept, so that what was just made is seen


def run_dir(cell: Cell, results: Path) -> RunDir:
    """Where the cell's records are; the same cell in another grid is found there too."""
    own = results / cell.grid / cell.run_name
    return RunDir(own if own.exists() else _paths_by_id(results).get(cell.id, own))


@dataclass
class _Scan:
    """Run directories by cell id, and until when that is believed (``time.monotonic``)."""

    paths: dict[str, Path]
    until: float


_scans: dict[Path, _Scan] = {}


def _paths_by_id(results: Path) -> dict[str, Path]:
    """Asked for every cell of a new grid: among thousands, a scan is believed for 20 times what it took."""
    known = _scans.get(results)
    started = time.monotonic()
    if known is not None and started < known.until:
        return known.paths
    found = {path.name.rpartition("-")[2]: path for path in sorted(results.glob("*/*-*"), reverse=True)}
    took = time.monotonic() - started
    _scans[results] = _Scan(found, started + (20 * took if took > SLOW_SCAN else 0.0))
    return found


@contextlib.contextmanager
def making_folders(results: Path) -> Iterator[None]:
    """Held while a runner makes the folders of its cells.

    Two grids that share a cell, begun at the same moment, would otherwise both find it nowhere, make a folder
    each, and run it twice.
    """
    results.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(results / FOLDERS_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(OSError):  # another person's, and already so
            os.fchmod(descriptor, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _scans.pop(results, None)  # of before the lock
        yield
    finally:
        os.close(descriptor)


def statuses(cells: Sequence[Cell], results: Path) -> dict[str, Status]:
    """Status by cell id, from the files."""
    return {c.id: status_of(run_dir(c, results), cell_json(c)) for c in cells}


def require_writable(results: Path) -> None:
    """Refuse before anything starts when the records could not be written.

    Raises:
        UserError: a file is in the way, or the folder is read-only.
    """
    existing = next(p for p in (results.absolute(), *results.absolute().parents) if p.exists())
    problem = "not a folder" if not existing.is_dir() else machine.write_problem(existing)
    if problem:
        message, hint = f"the records cannot be written: {problem}", "choose another --results"
        raise UserError(message, file=existing, hint=hint)

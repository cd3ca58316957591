"""Where a cell's records are, and its state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.environment_checks import machine
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.status import Status, status_of


def run_dir(cell: Cell, results: Path) -> RunDir:
    """Where the cell's records are; the same cell in another grid is found there too."""
    own = results / cell.grid / cell.run_name
    if not own.exists():
        for other in sorted(results.glob(f"*/*-{cell.id}")):
            return RunDir(other)
    return RunDir(own)


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

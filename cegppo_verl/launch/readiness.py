"""Whether this machine is ready to run cells itself."""

from __future__ import annotations

from collections.abc import Sequence

from cegppo_verl.experiment import catalog, trainers
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import jobs, preflight


def needs_verl(cell: Cell) -> bool:
    """Whether verl trains the cell, and with it a Ray that has to have this machine to itself."""
    return catalog.scale(cell.scale).trainer == trainers.VERL


def check(cells: Sequence[Cell]) -> None:
    """Cheap checks of this machine before anything is written.

    Raises:
        UserError: wrong packages, missing data, no room in shared memory, another run or Ray in the way.
    """
    preflight.require_locked_versions()
    for cell in cells:
        jobs.require_inputs(cell)
    scales = [catalog.scale(cell.scale) for cell in cells if needs_verl(cell)]
    if not scales:
        return
    preflight.require_shared_memory()
    preflight.require_no_private_run()
    gpus = max(scale.hardware.gpus for scale in scales)
    preflight.require_no_other_ray({"CPU": jobs.LOGICAL_CPUS, "GPU": gpus})

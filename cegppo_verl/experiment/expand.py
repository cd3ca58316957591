"""From a grid to its cells."""

from __future__ import annotations

from itertools import groupby

from cegppo_verl.experiment.cell import Cell, slug
from cegppo_verl.experiment.grid import Grid
from cegppo_verl.experiment.resolve import Resolved


def expand(grid: Grid) -> list[Cell]:
    """Every cell once, ordered by scale, then seed, then arm, each as the file has them.

    Arms come last so that a grid interrupted half-way has whole seeds, which can be compared, rather than
    whole arms, which cannot.

    Raises:
        UserError: two arms are the same run under two names.
    """
    cells = []
    for _, group in groupby(grid.resolved(), key=lambda found: found.scale.name):
        arms = [(found, found.stem.ids(grid.seeds)) for found in group]
        for index, seed in enumerate(grid.seeds):
            cells += [_cell(grid, found, seed, ids[index]) for found, ids in arms]
    return cells


def _cell(grid: Grid, found: Resolved, seed: int, identity: str) -> Cell:
    arm, scale = found.arm.name, found.scale.name
    # Every part has been checked already; checking ten thousand cells again takes most of the time.
    return Cell.model_construct(
        grid=grid.name,
        arm=arm,
        algorithm=found.arm.algorithm,
        params=found.params,
        scale=scale,
        seed=seed,
        settings=found.settings,
        id=identity,
        slug=slug(arm, scale, seed),
    )

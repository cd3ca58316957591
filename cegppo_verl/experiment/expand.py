"""From a grid to its cells."""

from __future__ import annotations

from cegppo_verl.experiment import algorithms, catalog, identity
from cegppo_verl.experiment.cell import Cell, slug
from cegppo_verl.experiment.grid import Grid, refuse_twins, resolve_settings


def expand(grid: Grid) -> list[Cell]:
    """Every cell once, ordered by scale, then seed, then arm, each as the file has them.

    Arms come last so that a grid interrupted half-way has whole seeds, which can be compared, rather than
    whole arms, which cannot.

    Raises:
        UserError: two arms are the same run under two names.
    """
    arms = [(arm, algorithms.resolve_params(arm.algorithm, arm.params)) for arm in grid.arms]
    refuse_twins(grid)
    cells = []
    for name in grid.scales:
        scale = catalog.scale(name)
        settings = resolve_settings(grid, scale)
        for seed in grid.seeds:
            for arm, params in arms:
                content = identity.content(arm.algorithm, params, scale, settings, seed)
                cells.append(
                    Cell(
                        grid=grid.name,
                        arm=arm.name,
                        algorithm=arm.algorithm,
                        params=params,
                        scale=name,
                        seed=seed,
                        settings=settings,
                        id=identity.digest(content),
                        slug=slug(arm.name, name, seed),
                    )
                )
    return cells

"""Settings that are legal and probably not meant: knobs that do nothing, arms that differ in two things."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.grid import Grid
from cegppo_verl.experiment.lint import data, fairness, knobs, recovery
from cegppo_verl.experiment.lint.finding import Finding, Look, Rule
from cegppo_verl.experiment.recorded import Recorded

RULES: tuple[Rule, ...] = (*knobs.RULES, *fairness.RULES, *recovery.RULES, *data.RULES)


def lint(
    grid: Grid, cells: Sequence[Cell], recorded: Recorded | None = None, assets: Path | None = None
) -> list[Finding]:
    """Every finding of a grid, warnings first; the same remark about several seeds is made once.

    Args:
        recorded: earlier runs, for what only they can tell. assets: the folder of the user's data files.
    """
    look = Look(grid, cells, recorded, assets)
    found = [finding for rule in RULES for finding in rule(look)]
    return sorted(dict.fromkeys(found), key=lambda finding: finding.level != "warning")


__all__ = ["RULES", "Finding", "Look", "lint"]

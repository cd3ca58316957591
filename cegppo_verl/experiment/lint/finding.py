"""What a rule of the lint looks at, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import Costs
from cegppo_verl.experiment.grid import Grid
from cegppo_verl.experiment.recorded import Recorded
from cegppo_verl.losses import schedule


@dataclass(frozen=True)
class Finding:
    """A remark about a grid; it never stops a run.

    Args:
        level: "warning" means the result is likely not what was asked for; "info" belongs in the report.
        key: where in the grid file, or the arm.
    """

    level: Literal["warning", "info"]
    key: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Look:
    """What the rules may look at.

    Args:
        cells: all of them. recorded: earlier runs; None: rules that need them say nothing.
        assets: folder of the user's data files; None: they are not opened.
    """

    grid: Grid
    cells: Sequence[Cell]
    recorded: Recorded | None = None
    assets: Path | None = None

    @cached_property
    def arms(self) -> list[Cell]:
        """One cell per arm and scale, that of the first seed."""
        return list({(cell.scale, cell.arm): cell for cell in reversed(self.cells)}.values())[::-1]

    @cached_property
    def by_scale(self) -> dict[str, list[Cell]]:
        """:attr:`arms` by scale."""
        found: dict[str, list[Cell]] = {}
        for cell in self.arms:
            found.setdefault(cell.scale, []).append(cell)
        return found

    @cached_property
    def costs(self) -> Costs | None:
        """Estimates from the earlier runs."""
        return Costs(self.recorded) if self.recorded is not None else None


Rule = Callable[[Look], Iterator[Finding]]


CLIP_OFF = 1e6  # a dual clip that no ratio reaches; verl's vanilla loss has no other way to do without


def dual_clip_of(cell: Cell) -> str | None:
    """c of a cell's dual clip as text; "off" where it cannot act, None where the loss has none."""
    if "dual_clip" not in cell.params:
        return None
    value = cell.params["dual_clip"]
    off = value is None or (isinstance(value, float) and value >= CLIP_OFF)
    return "off" if off else schedule.shown(value)


def names(items: Iterable[str], most: int = 3) -> str:
    """``a, b, c and 7 more``."""
    known = list(dict.fromkeys(items))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more

"""The cost part of ``cegppo plan``: what is left, what the whole grid takes, and what that is known from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cegppo_verl.experiment import budget
from cegppo_verl.experiment.budget import Totals
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import NO_BASIS, Costs, gpus_of
from cegppo_verl.experiment.plan import MOST_ROWS
from cegppo_verl.launch.view import duration


def left_by_cell(cells: Sequence[Cell], costs: Costs, done: Mapping[str, int]) -> dict[str, str]:
    """The time that each cell still takes, by id; empty when none takes any, or none is known."""
    hours = {c.id: costs.estimate(c, done.get(c.id, 0)).hours for c in cells}
    return {i: duration(h * 3600) if h else "" for i, h in hours.items()} if any(hours.values()) else {}


def left_by_arm(cells: Sequence[Cell], costs: Costs, done: Mapping[str, int]) -> dict[str, str]:
    """The same, summed over the cells of each arm."""
    hours: dict[str, float] = {}
    for cell in cells:
        left = costs.estimate(cell, done.get(cell.id, 0)).hours
        if left:
            hours[cell.arm] = hours.get(cell.arm, 0.0) + left
    return {arm: duration(sum_ * 3600) for arm, sum_ in hours.items()}


def print_cost(
    cells: Sequence[Cell], costs: Costs, done: Mapping[str, int], gpus: int | None, console: Console
) -> None:
    """Totals, then one line per kind of cell with its basis."""
    open_cells = [c for c in cells if done.get(c.id, 0) < c.settings.total_steps]
    table = Table(box=None, pad_edge=False, show_header=False)
    for title in ("", "cells", "time"):
        table.add_column(title, no_wrap=title == "")
    table.add_row("whole grid", *_total(budget.totals(cells, costs, {}, gpus)))
    if not open_cells:
        table.add_row("left to do", "nothing", "")
    elif len(open_cells) < len(cells) or any(done.values()):
        table.add_row("left to do", *_total(budget.totals(open_cells, costs, done, gpus)))
    console.print(table, highlight=False)
    known = [c for c in cells if costs.estimate(c).hours is not None]
    if known:
        console.print(_basis_table(known, costs), highlight=False)
    unknown = list(dict.fromkeys(c.scale for c in cells if costs.estimate(c).hours is None))
    if unknown:
        console.print(f"{', '.join(unknown)}: {NO_BASIS}", highlight=False)


def _total(totals: Totals) -> tuple[str, str]:
    cells = "1 cell" if totals.cells == 1 else f"{totals.cells:,} cells"
    parts = []
    if totals.gpu_hours:
        parts.append(f"{totals.gpu_hours:,.1f} GPU-hours, {_on(totals)}")
    if totals.machine_hours:
        parts.append(f"{duration(totals.machine_hours * 3600)} one cell at a time, no GPU")
    if totals.unknown:
        parts.append(f"{totals.unknown:,} of them without an estimate" if parts else "no estimate")
    return cells, "; ".join(parts)


def _on(totals: Totals) -> str:
    if totals.wall_hours is None:
        return f"and a cell needs more than {totals.gpus} GPUs"
    return f"{duration(totals.wall_hours * 3600)} on {totals.gpus} GPUs"


def _basis_table(cells: Sequence[Cell], costs: Costs) -> Table:
    """Per scale and basis: seconds per step, hours per cell, and where that comes from."""
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for title in ("scale", "s/step", "cell", "GPUs", "basis"):
        table.add_column(
            title, justify="left" if title in ("scale", "basis") else "right", no_wrap=title != "basis"
        )
    kinds = [
        (scale, basis, group)
        for scale in dict.fromkeys(c.scale for c in cells)
        for basis, group in budget.by_basis([c for c in cells if c.scale == scale], costs).items()
    ]
    for scale, basis, group in kinds[:MOST_ROWS]:
        first = group[0][1]
        hours = [e.hours for _, e in group if e.hours is not None]
        table.add_row(
            scale,
            f"{first.step_seconds:.3g}",
            _range(hours),
            str(gpus_of(group[0][0]) or "none"),
            escape(basis),
        )
    if len(kinds) > MOST_ROWS:
        table.caption = f"and {len(kinds) - MOST_ROWS} more kinds of cells"
    return table


def _range(hours: Sequence[float]) -> str:
    low, high = duration(min(hours) * 3600), duration(max(hours) * 3600)
    return low if low == high else f"{low} to {high}"

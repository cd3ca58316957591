"""What `cegppo plan` shows: arms, cells or a summary of them, and the lint findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import gpus_of
from cegppo_verl.experiment.lint import Finding
from cegppo_verl.losses import schedule

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {
    "done": "green",
    "running": "cyan",
    "queued": "cyan",
    "stalled": "yellow",
    "stopped": "yellow",
    "failed": "red",
    "planned": "dim",
}
_LEVELS = {"warning": "yellow", "info": "blue"}
MOST_ROWS = 40  # of any table, unless all are asked for


@dataclass(frozen=True)
class PlanRow:
    """A cell in numbers. ``status`` is the caller's: this room does not look at run directories."""

    cell: Cell
    status: str

    @property
    def params(self) -> str:
        """``β1=0.5, β2=1, …``; what is off is left out."""
        return ", ".join(
            f"{_symbol(key)}={schedule.shown(value)}"
            for key, value in self.cell.params.items()
            if value is not None
        )

    @property
    def batch(self) -> str:
        """Prompts × rollouts per step."""
        return f"{self.cell.settings.train_batch_size} × {self.cell.settings.rollouts_per_prompt}"

    @property
    def evaluations(self) -> int:
        """Number of evaluations of the whole run, the one at the start and the last step's included."""
        plan, steps = self.cell.settings.eval, self.cell.settings.total_steps
        return steps // plan.every + (steps % plan.every > 0) + plan.at_start


def _symbol(name: str) -> str:
    return {"beta1": "β1", "beta2": "β2", "epsilon": "ε", "dual_clip": "c"}.get(
        name, name.replace("epsilon", "ε")
    )


def plan_rows(cells: Sequence[Cell], statuses: Mapping[str, str] | None = None) -> list[PlanRow]:
    """One row per cell; ``statuses`` maps a cell's id to its status, "planned" where it has none."""
    known = statuses or {}
    return [PlanRow(cell, known.get(cell.id, "planned")) for cell in cells]


def arms_table(cells: Sequence[Cell], most: int | None = None) -> Table:
    """What each arm is: algorithm and parameters, once, however many cells it has; ``most`` of them."""
    table = _table("arm", "algorithm", "parameters")
    arms = {cell.arm: cell for cell in reversed(cells)}
    rows = plan_rows(list(arms.values())[::-1])
    for row in rows[:most]:
        table.add_row(row.cell.arm, row.cell.algorithm, row.params)
    _say_more(table, len(rows), most, "arms")
    return table


def _table(*titles: str, right: Sequence[str] = ()) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, caption_justify="left")
    for title in titles:
        table.add_column(
            title, justify="right" if title in right else "left", no_wrap=title in _NEVER_WRAPPED
        )
    return table


_NEVER_WRAPPED = ("arm", "seed", "id", "steps", "batch", "upd.", "evals", "left")


def _say_more(table: Table, rows: int, most: int | None, what: str) -> None:
    if most is not None and rows > most:
        table.caption = f"{rows - most:,} more {what} (--all)"


# How a cell trains, in a column where the cells of a scale differ, else in words above the table.
_COLUMNS: dict[str, tuple[Callable[[PlanRow], str], str]] = {
    "steps": (lambda row: str(row.cell.settings.total_steps), "{} steps"),
    "batch": (lambda row: row.batch, "{} rollouts"),
    "upd.": (lambda row: str(row.cell.settings.updates_per_step), "{} updates a step"),
    "evals": (lambda row: str(row.evaluations), "{} evaluations"),
}


def plan_table(
    cells: Sequence[Cell], statuses: Mapping[str, str] | None = None, left: Mapping[str, str] | None = None
) -> Table:
    """The cells of one scale as a rich table that fits 80 columns, without what :func:`scale_line` says.

    Args:
        statuses: why a cell counts as done, or what is missing, by id. left: the time it still takes.
    """
    from rich.markup import escape

    rows, left = plan_rows(cells, statuses), left or {}
    varying = _varying(rows)
    titles = ("arm", "seed", "id", *varying, *(["left"] if left else []), "status")
    table = _table(*titles, right=("seed", "left", *_COLUMNS))
    for row in rows:
        numbers = [_COLUMNS[name][0](row) for name in varying]
        numbers += [left.get(row.cell.id, "")] if left else []
        status = f"[{_colour(row.status)}]{escape(row.status)}[/]"
        table.add_row(row.cell.arm, str(row.cell.seed), row.cell.id, *numbers, status)
    return table


def _colour(status: str) -> str:
    return COLOURS.get(status.partition(" ")[0].rstrip(":,"), "white")


def _varying(rows: Sequence[PlanRow]) -> list[str]:
    """Columns in which the rows are not all the same."""
    return [name for name, (of, _) in _COLUMNS.items() if len({of(row) for row in rows}) > 1]


def scale_line(cells: Sequence[Cell]) -> str:
    """What the cells of one scale share: ``scale toy-s: 3 cells, each 24 steps, 32 × 8 rollouts, …``."""
    rows = plan_rows(cells)
    varying = _varying(rows)
    shared = [words.format(of(rows[0])) for name, (of, words) in _COLUMNS.items() if name not in varying]
    gpus = gpus_of(cells[0])
    many = f"{len(rows):,} cells, each " if len(rows) > 1 else "1 cell, "
    return f"scale {rows[0].cell.scale}: {many}{', '.join([*([f'{gpus} GPUs'] if gpus else []), *shared])}"


def summary_table(
    cells: Sequence[Cell], states: Mapping[str, str], left: Mapping[str, str], most: int | None = None
) -> Table:
    """The cells of one scale, one row per arm: how many are in which state, and the time they still take.

    Args:
        states: one word by cell id. left: by arm.
    """
    found: dict[str, Counter[str]] = {}
    for cell in cells:
        found.setdefault(cell.arm, Counter())[states.get(cell.id, "planned")] += 1
    used = [state for state in COLOURS if any(count[state] for count in found.values())]
    rows = {row.cell.arm: row for row in plan_rows(cells)}
    varying = _varying(list(rows.values()))
    titles = ("arm", *varying, "cells", *used, *(["left"] if left else []))
    table = _table(*titles, right=("cells", *used, "left", *_COLUMNS))
    for arm, count in list(found.items())[:most]:
        numbers = [_COLUMNS[name][0](rows[arm]) for name in varying]
        numbers += [str(count.total()), *(str(count[state] or "") for state in used)]
        table.add_row(arm, *numbers, *([left.get(arm, "")] if left else []))
    _say_more(table, len(found), most, "arms")
    return table


def findings_table(findings: Iterable[Finding], most: int | None = None) -> Table:
    """Lint findings as a rich table without a header; empty when there are none."""
    from rich.markup import escape
    from rich.table import Table

    found = list(findings)
    table = Table(box=None, show_header=False, pad_edge=False, caption_justify="left")
    for finding in found[:most]:
        hint = f" [dim]({escape(finding.hint)})[/]" if finding.hint else ""
        level = f"[{_LEVELS[finding.level]}]{finding.level}[/]"
        table.add_row(level, f"{escape(finding.key)}: {escape(finding.message)}{hint}")
    _say_more(table, len(found), most, "remarks")
    return table

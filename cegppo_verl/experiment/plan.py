"""What `cegppo plan` shows: one row per cell, and the lint findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.lint import Finding
from cegppo_verl.losses import schedule

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {"done": "green", "running": "cyan", "stalled": "yellow", "failed": "red", "planned": "dim"}
_LEVELS = {"warning": "yellow", "info": "blue"}


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


def arms_table(cells: Sequence[Cell]) -> Table:
    """What each arm is: algorithm and parameters, once, however many cells it has."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("arm", "algorithm", "parameters"):
        table.add_column(title)
    for row in plan_rows(list({cell.arm: cell for cell in cells}.values())):
        table.add_row(row.cell.arm, row.cell.algorithm, row.params)
    return table


def plan_table(cells: Sequence[Cell], statuses: Mapping[str, str] | None = None) -> Table:
    """The cells of one scale as a rich table that fits 80 columns; the scale is its title."""
    from rich.markup import escape
    from rich.table import Table

    scale = cells[0].scale if cells else ""
    table = Table(box=None, header_style="bold", pad_edge=False, title=f"scale {scale}", title_justify="left")
    for title, justify in _COLUMNS:
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in plan_rows(cells, statuses):
        cell, settings = row.cell, row.cell.settings
        status = f"[{_COLOURS.get(row.status, 'white')}]{escape(row.status)}[/]"
        numbers = (str(settings.total_steps), row.batch, str(settings.updates_per_step), str(row.evaluations))
        table.add_row(cell.arm, str(cell.seed), cell.id, *numbers, status)
    return table


_COLUMNS = (
    ("arm", "left"),
    ("seed", "right"),
    ("id", "left"),
    ("steps", "right"),
    ("batch", "right"),  # prompts × rollouts
    ("upd.", "right"),  # optimiser updates per step
    ("evals", "right"),
    ("status", "left"),
)


def findings_table(findings: Iterable[Finding]) -> Table:
    """Lint findings as a rich table without a header; empty when there are none."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        hint = f" [dim]({escape(finding.hint)})[/]" if finding.hint else ""
        level = f"[{_LEVELS[finding.level]}]{finding.level}[/]"
        table.add_row(level, escape(finding.key), escape(finding.message) + hint)
    return table

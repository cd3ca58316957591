"""What ``plan``, ``status`` and ``report`` do before they print."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment import budget
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import Costs
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Grid, load_grid
from cegppo_verl.experiment.lint import Finding, lint
from cegppo_verl.experiment.plan import (
    MOST_ROWS,
    arms_table,
    findings_table,
    plan_table,
    scale_line,
    summary_table,
)
from cegppo_verl.experiment.recorded import Recorded, wanted
from cegppo_verl.launch import composing, costing
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.cells import run_dir
from cegppo_verl.records.overview import Overview
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.status import DONE, PLANNED, Status, status_of
from cegppo_verl.toy.store import assets_root

if TYPE_CHECKING:
    from cegppo_verl.reporting.runs import RunView

MOST_READ = 200  # cells whose records are read anew each time; a few milliseconds each
MOST_CELLS = 30  # listed one by one; beyond that there is a line per arm


def load(path: Path, scale: str | None, seeds: Sequence[int] | None) -> tuple[Grid, list[Cell]]:
    """The grid and its cells."""
    grid = load_grid(path, scale=scale, seeds=seeds)
    return grid, expand(grid)


def select(cells: list[Cell], arms: Sequence[str] | None) -> list[Cell]:
    """Only the cells of ``arms``; all when None.

    Raises:
        UserError: an arm that the grid does not have.
    """
    known = {c.arm for c in cells}
    for arm in arms or ():
        if arm not in known:
            raise UserError(f"unknown arm '{arm}'", key="--arm", hint=did_you_mean(arm, known))
    return [c for c in cells if not arms or c.arm in arms]


@dataclass(frozen=True)
class Plan:
    """A grid, how far its cells are, what it costs, and what is odd about it.

    Attributes:
        states: by cell id, of the cells that have a run directory; the others are planned.
        places: run directories by cell id.
        done: steps by cell id that need not be repeated.
    """

    grid: Grid
    cells: list[Cell]
    states: dict[str, Status]
    places: dict[str, Path]
    done: dict[str, int]
    costs: Costs
    findings: list[Finding]


def plan(
    path: Path, scale: str | None, seeds: Sequence[int] | None, results: Path, gpus: int | None = None
) -> Plan:
    """Everything that ``cegppo plan`` shows, from files alone.

    Args:
        gpus: that the grid may use at once; None: as many as its largest cell.

    Raises:
        UserError: the grid file is wrong.
    """
    grid, cells = load(path, scale, seeds)
    recorded = Recorded(results)
    known = {c.id: place for c in cells if (place := recorded.place(c)) is not None}
    states = _states([c for c in cells if c.id in known], known, results)
    done = {c.id: _kept(c, states[c.id]) for c in cells if c.id in states}
    costs = Costs(recorded)
    whole = budget.totals(cells, costs, {}, gpus)
    findings = [*budget.over_budget(grid, whole), *lint(grid, cells, recorded, assets_root())]
    return Plan(grid, cells, states, known, done, costs, findings)


def _states(begun: Sequence[Cell], places: Mapping[str, Path], results: Path) -> dict[str, Status]:
    """By cell id. A look at many is kept for the next one; for few a plan writes nothing."""
    if len(begun) > MOST_READ:
        return Overview(results).look(wanted(begun))
    return {c.id: status_of(RunDir(places[c.id]), cell_json(c)) for c in begun}


def _kept(cell: Cell, status: Status) -> int:
    """Steps that a resumed run does not repeat: up to the last checkpoint."""
    if status.state == DONE:
        return cell.settings.total_steps
    return status.step // cell.settings.checkpoint.every * cell.settings.checkpoint.every


def show(
    path: Path,
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    console: Console,
    *,
    check: bool,
    gpus: int | None = None,
    everything: bool = False,
) -> None:
    """Print the plan: question, cells, cost, findings, and verl's verdict on the configuration.

    Args:
        gpus: that the grid may use at once, for the time it takes.
        everything: every cell, arm and remark, however many.
    """
    found = plan(path, scale, seeds, results, gpus)
    most = None if everything else MOST_ROWS
    console.print(f"[bold]{escape(found.grid.name)}[/]: {escape(found.grid.question)}\n")
    console.print(arms_table(found.cells, most))
    for name in found.grid.scales:
        console.print()
        _print_cells(found, [c for c in found.cells if c.scale == name], console, most)
    console.print()
    costing.print_cost(found.cells, found.costs, found.done, gpus, console)
    if found.findings:
        console.print()
        console.print(findings_table(found.findings, most))
    if check:
        console.print()
        console.print(composing.verdict(found.cells, results))


def show_overrides(
    path: Path,
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    console: Console,
    *,
    arms: Sequence[str] | None = None,
    check: bool = False,
) -> None:
    """Print what verl is told, and with ``check`` what it says to that; ``arms`` as for :func:`select`.

    Raises:
        UserError: an unknown arm, or verl refuses.
    """
    cells = select(load(path, scale, seeds)[1], arms)
    composing.print_overrides(cells, results, console)
    if check:
        console.print(f"\n# {composing.verdict(cells, results)}", highlight=False)


def _print_cells(found: Plan, cells: Sequence[Cell], console: Console, most: int | None) -> None:
    console.print(scale_line(cells), highlight=False)
    if most is not None and len(cells) > MOST_CELLS:
        words = {identity: state.state for identity, state in found.states.items()}
        left = costing.left_by_arm(cells, found.costs, found.done)
        console.print(summary_table(cells, words, left, most))
    else:
        texts = {c.id: _why(c, found) for c in cells}
        console.print(plan_table(cells, texts, costing.left_by_cell(cells, found.costs, found.done)))
    own = {found.places[c.id].parent for c in cells if c.id in found.places and not _borrowed(c, found)}
    for folder in own:
        console.print(f"[dim]records: {escape(str(folder))}[/]", highlight=False, soft_wrap=True)


def _borrowed(cell: Cell, found: Plan) -> bool:
    return found.places[cell.id].parent.name != cell.grid


def _why(cell: Cell, found: Plan) -> str:
    """Why a cell counts as done, or what is missing."""
    status = found.states.get(cell.id)
    if status is None:
        return PLANNED
    text = _done(cell) if status.state == DONE else status.text()
    return f"{text}, in {found.places[cell.id]}" if _borrowed(cell, found) else text


def _done(cell: Cell) -> str:
    total = cell.settings.total_steps
    return f"done: {total} of {total} steps, evaluated at {total}"


def show_status(
    path: Path, scale: str | None, seeds: Sequence[int] | None, results: Path, console: Console
) -> None:
    """Print one line per cell."""
    _, cells = load(path, scale, seeds)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("cell", "id", "status"):
        table.add_column(title, no_wrap=title != "status")
    for cell in cells:
        table.add_row(cell.slug, cell.id, escape(status_of(run_dir(cell, results), cell_json(cell)).text()))
    console.print(table)


def report_command(path: Path, scale: str | None, seeds: Sequence[int] | None) -> str:
    """The command as it goes into the artefacts: without folders, which differ between machines."""
    here = Path.cwd()
    name = path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else Path(path.name)
    options = ["--scale", scale] if scale else []
    options += [word for seed in seeds or () for word in ("--seed", str(seed))]
    return shlex.join(["cegppo", "report", str(name), *options])


def run_views(
    path: Path, scale: str | None, seeds: Sequence[int] | None, results: Path
) -> tuple[Grid, list[RunView]]:
    """The grid and its runs as the report sees them, run or not."""
    from cegppo_verl.reporting.runs import load_runs

    grid, cells = load(path, scale, seeds)
    return grid, load_runs([partial(_run_view, cell, results) for cell in cells])


def _run_view(cell: Cell, results: Path) -> RunView:
    from cegppo_verl.reporting.runs import RunView

    run, planned = run_dir(cell, results), cell_json(cell)
    return RunView.load(run.path, status_of(run, planned), cell=planned)

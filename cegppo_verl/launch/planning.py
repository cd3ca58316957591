"""What ``plan``, ``status`` and ``report`` do before they print."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Grid, load_grid
from cegppo_verl.experiment.lint import lint
from cegppo_verl.experiment.plan import arms_table, findings_table, plan_table
from cegppo_verl.launch import jobs
from cegppo_verl.launch.runner import cell_json, run_dir, statuses
from cegppo_verl.records.status import status_of

if TYPE_CHECKING:
    from cegppo_verl.reporting.runs import RunView


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


def show(
    path: Path,
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    console: Console,
    *,
    check: bool,
) -> None:
    """Print the plan: question, cells, findings, and verl's verdict on the configuration."""
    grid, cells = load(path, scale, seeds)
    console.print(f"[bold]{escape(grid.name)}[/]: {escape(grid.question)}")
    console.print(arms_table(cells))
    states = {i: s.state for i, s in statuses(cells, results).items()}
    for name in grid.scales:
        console.print(plan_table([c for c in cells if c.scale == name], states))
    console.print("[dim]batch: prompts × rollouts per step; upd.: optimiser updates per step[/]")
    console.print(findings_table(lint(grid, cells)))
    if check:
        console.print(verdict(cells, results))


def verdict(cells: Sequence[Cell], results: Path) -> str:
    """Compose one cell per arm and scale against verl's own configuration, all in one process.

    Raises:
        UserError: verl refuses a configuration.
    """
    if importlib.util.find_spec("verl") is None:
        return "verl is not installed here: overrides rendered, not validated"
    chosen = list({(c.arm, c.scale): c for c in cells}.values())
    done = subprocess.run(
        [sys.executable, "-m", "cegppo_verl.verl_plugin.compose", "-"],
        input=json.dumps([_overrides(c, results) for c in chosen]),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **jobs.platform_environment(chosen[0])},
    )
    if done.returncode:
        raise UserError(f"verl refuses the configuration: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return f"verl accepts the configuration of {len(chosen)} cells (composed and validated with its own code)"


def _overrides(cell: Cell, results: Path) -> list[str]:
    """Without Hydra's own keys, which steer the entry point and are not part of verl's configuration."""
    arguments = jobs.arguments(cell, run_dir(cell, results), jobs.expected_inputs(cell), 0)
    return [a for a in arguments[2:] if not a.startswith("hydra")]


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
    from cegppo_verl.reporting.runs import RunView

    grid, cells = load(path, scale, seeds)
    views = []
    for cell in cells:
        run, planned = run_dir(cell, results), cell_json(cell)
        views.append(RunView.load(run.path, status_of(run, planned), cell=planned))
    return grid, views

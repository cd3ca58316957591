"""``cegppo bench runner``: what planning, looking, waiting and packing cost."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from cegppo_verl.bench import runner_idle, runner_makespan, runner_plan, runner_status

SEEDS = 3


def main(console: Console, cells: int, *, with_ray: bool) -> None:
    """Measure and print, the quick parts first."""
    console.print(commands_table(cells))
    runner_idle.measure(cells, at_work=min(1000, cells))
    runner_makespan.simulated(seeds=range(SEEDS))
    if with_ray:
        runner_makespan.measured()


def commands_table(cells: int) -> Table:
    """Seconds and memory of ``plan`` and ``status``, each in a process of its own without ray and torch."""
    table = Table(title=f"{cells:,} cells; seconds from the command's start, the interpreter's own apart")
    for title in ("command", "s", "peak memory, MB", "asked"):
        table.add_column(title, justify="left" if title == "command" else "right")
    _add(table, "plan", runner_plan.measure(cells), "< 2 s, < 500 MB")
    looked = runner_status.measure(cells)
    _add(table, "status, first look", looked["cold"], "")
    _add(table, "status", looked["warm"], "< 1 s, < 500 MB")
    return table


def _add(table: Table, name: str, found: dict[str, Any], asked: str) -> None:
    table.add_row(name, f"{found['command_seconds']:.2f}", f"{found['peak_megabytes']:.0f}", asked)

"""What a grid costs in all, how long it takes on so many GPUs, and whether that is within its budget."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import Costs, Estimate, gpus_of
from cegppo_verl.experiment.grid import Grid
from cegppo_verl.experiment.lint.finding import Finding


@dataclass(frozen=True)
class Totals:
    """Of some cells.

    Attributes:
        cells: how many; ``unknown`` of them have no estimate, and count for nothing below.
        gpu_hours: on GPU scales. machine_hours: on CPU scales, one cell at a time on one machine.
        wall_hours: from beginning to end: GPU cells side by side on ``gpus``, CPU cells one by one; None
            when a cell needs more GPUs than there are.
        gpus: what ``wall_hours`` holds for; 0 when no cell needs one.
    """

    cells: int
    unknown: int
    gpu_hours: float
    machine_hours: float
    wall_hours: float | None
    gpus: int


def totals(cells: Sequence[Cell], costs: Costs, done: Mapping[str, int], gpus: int | None = None) -> Totals:
    """What ``cells`` still take; a run that serves two cells counts once.

    Args:
        done: steps of each cell, by id, that need not be repeated.
        gpus: how many there are; None: as many as the largest cell needs, i.e. one cell at a time.
    """
    distinct = list({cell.id: cell for cell in cells}.values())
    left = [(cell, costs.estimate(cell, done.get(cell.id, 0))) for cell in distinct]
    known = [(gpus_of(cell), estimate.hours) for cell, estimate in left if estimate.hours is not None]
    on_gpus = [(need, hours) for need, hours in known if need]
    machine = sum(hours for need, hours in known if not need)
    there = (gpus or max(need for need, _ in on_gpus)) if on_gpus else 0
    beside = wall_clock(on_gpus, there)
    return Totals(
        cells=len(distinct),
        unknown=len(left) - len(known),
        gpu_hours=sum(need * hours for need, hours in on_gpus),
        machine_hours=machine,
        wall_hours=None if beside is None else max(machine, beside),
        gpus=there,
    )


def wall_clock(jobs: Iterable[tuple[int, float]], gpus: int) -> float | None:
    """Hours until all are done when each starts, longest first, as soon as enough GPUs are free.

    Args:
        jobs: GPUs and hours of each.

    Returns:
        None when a job needs more than ``gpus``.
    """
    queues: dict[int, deque[float]] = {}
    for need, hours in sorted(jobs, key=lambda job: -job[1]):
        queues.setdefault(need, deque()).append(hours)
    if any(need > gpus for need in queues):
        return None
    now, free, running = 0.0, gpus, list[tuple[float, int]]()
    while queues or running:
        free -= _start(queues, running, now, free)
        if running:
            now, need = heapq.heappop(running)
            free += need
    return now


def _start(queues: dict[int, deque[float]], running: list[tuple[float, int]], now: float, free: int) -> int:
    """Start what fits, longest first; how many GPUs that took."""
    taken = 0
    while fitting := [need for need in queues if need <= free - taken]:
        need = max(fitting, key=lambda size: queues[size][0])
        heapq.heappush(running, (now + queues[need].popleft(), need))
        taken += need
        if not queues[need]:
            del queues[need]
    return taken


def over_budget(grid: Grid, whole: Totals) -> list[Finding]:
    """Warnings where the whole grid, what is done included, goes beyond the budget of its file."""
    budget = getattr(grid, "budget", None)
    if budget is None:
        return []
    asked = {"gpu_hours": (whole.gpu_hours, "GPU-hours"), "hours": (whole.wall_hours, "hours")}
    found = []
    for key, (needed, unit) in asked.items():
        limit = getattr(budget, key, None)
        if limit is not None and needed is not None and needed > limit:
            text = f"the grid takes {needed:,.1f} {unit}, {needed - limit:,.1f} over its budget of {limit:,g}"
            found.append(
                Finding("warning", f"budget.{key}", text, "fewer seeds, arms or steps, or more budget")
            )
    if whole.unknown and (getattr(budget, "gpu_hours", None) or getattr(budget, "hours", None)):
        text = f"{whole.unknown} cells have no estimate: the budget is not checked for them"
        found.append(Finding("info", "budget", text))
    return found


def by_basis(cells: Sequence[Cell], costs: Costs) -> dict[str, list[tuple[Cell, Estimate]]]:
    """Cells with their whole cost, by what it is known from, within each scale."""
    found: dict[str, list[tuple[Cell, Estimate]]] = {}
    for cell in cells:
        estimate = costs.estimate(cell)
        found.setdefault(estimate.basis, []).append((cell, estimate))
    return found

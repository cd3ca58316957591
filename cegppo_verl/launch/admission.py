"""Which waiting cells start now: what fits, longest expected first, within the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import scheduling
from cegppo_verl.launch.executors.base import Capacity, Executor
from cegppo_verl.launch.executors.local import LocalExecutor
from cegppo_verl.launch.ledger import Budget, gpus
from cegppo_verl.launch.scheduling import Item, Running

MOST_QUEUED = 100  # jobs at a scheduler that queues by itself, unless the profile says otherwise

Working = Sequence[tuple[Cell, float]]
"""Cells at work, each with the moment of its submission (``time.monotonic``)."""


class Admission:
    """Decides what starts.

    Args:
        hours: expected hours of a cell, None where nothing is known.
        priority: larger goes first.
    """

    def __init__(
        self,
        executor: Executor,
        budget: Budget,
        hours: Callable[[Cell], float | None],
        priority: Callable[[Cell], int],
    ) -> None:
        self.executor, self.budget, self.hours, self.priority = executor, budget, hours, priority
        self.held_back: str | None = None

    def choose(self, waiting: Sequence[Cell], working: Working) -> list[Cell]:
        """The cells to submit now, in order."""
        self.held_back = None
        if not waiting:
            return []
        by_id = {cell.id: cell for cell in waiting}
        order = [by_id[key] for key in self._fitting(waiting, working)]
        return self._affordable(order, working)

    def _fitting(self, waiting: Sequence[Cell], working: Working) -> list[str]:
        items = [self._item(cell) for cell in waiting]
        capacity = self.executor.capacity()
        if capacity is None:
            return [item.key for item in scheduling.order(items)][: self._jobs_left(working, MOST_QUEUED)]
        now = time.monotonic() / 3600
        running = _placed([self._running(cell, since) for cell, since in working], capacity)
        free = _free(running, capacity)
        admitted = [placement.item.key for placement in scheduling.admit(items, running, free, now)]
        return admitted[: self._jobs_left(working, None)]

    def _jobs_left(self, working: Working, otherwise: int | None) -> int | None:
        """How many more the profile's ``max_jobs`` allows; None is no limit."""
        most = getattr(getattr(self.executor, "profile", None), "max_jobs", None) or otherwise
        return None if most is None else max(0, most - len(working))

    def _item(self, cell: Cell) -> Item:
        hardware = catalog.scale(cell.scale).hardware
        nodes, per_node = hardware.nodes, hardware.gpus_per_node
        if isinstance(self.executor, LocalExecutor) and not self.executor.counts_gpus():
            nodes, per_node = 1, 1  # its capacity is counted in cells
        return Item(cell.id, nodes, per_node, self.hours(cell), self.priority(cell))

    def _running(self, cell: Cell, since: float) -> tuple[Item, float | None]:
        item = self._item(cell)
        return item, None if item.hours is None else since / 3600 + item.hours

    def _affordable(self, cells: Sequence[Cell], working: Working) -> list[Cell]:
        promised = sum(self._left(cell, since) for cell, since in working)
        chosen = []
        for cell in cells:
            hours = self.hours(cell)
            wanted = None if hours is None else hours * gpus(cell)
            if self.budget.allows(wanted, promised):
                promised += wanted or 0.0
                chosen.append(cell)
            else:
                self.held_back = self._explain(wanted)
        return chosen

    def _left(self, cell: Cell, since: float) -> float:
        """GPU-hours that a cell at work is still expected to use."""
        hours = self.hours(cell)
        elapsed = (time.monotonic() - since) / 3600
        return 0.0 if hours is None else max(0.0, hours - elapsed) * gpus(cell)

    def _explain(self, wanted: float | None) -> str:
        more = f", the next cell is expected to need {wanted:.2f}" if wanted is not None else ""
        return f"{self.budget.used:.2f} of {self.budget.limit:g} GPU-hours are used{more} (--max-gpu-hours)"


def _placed(running: Sequence[tuple[Item, float | None]], capacity: Capacity) -> list[Running]:
    """Our running cells on nodes: which ones exactly the scheduler does not say, so the largest go first."""
    left = list(capacity.total)
    placed = []
    for item, ends in sorted(running, key=lambda pair: (-pair[0].gpus, pair[0].key)):
        fitting = sorted(
            (n for n, room in enumerate(left) if room >= item.gpus_per_node), key=lambda n: left[n]
        )
        nodes = tuple(fitting[: item.nodes])
        for node in nodes:
            left[node] -= item.gpus_per_node
        placed.append(Running(item, nodes, ends))
    return placed


def _free(running: Sequence[Running], capacity: Capacity) -> list[int]:
    """GPUs free per node. A cell just submitted holds nothing yet that the cluster could report."""
    ours = [0] * len(capacity.total)
    for work in running:
        for node in work.nodes:
            ours[node] += work.item.gpus_per_node
    left = [total - own for total, own in zip(capacity.total, ours, strict=True)]
    others = sum(capacity.total) - sum(capacity.free) - sum(ours)
    if others <= 0:
        return left
    return [min(a, b) for a, b in zip(left, capacity.free, strict=True)]

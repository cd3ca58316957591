"""GPU-hours: what a grid has used, from the records, and what it may still use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.records import facts
from cegppo_verl.records.rundir import Attempt, Json, RunDir


def gpus(cell: Cell) -> int:
    """GPUs that the cell occupies; logical ones on the CPU platform."""
    return catalog.scale(cell.scale).hardware.gpus


def spent(cell: Cell, run: RunDir) -> float:
    """GPU-hours of all attempts of a cell, the running one included."""
    return gpus(cell) * sum(_seconds(a, a.record()) for a in run.attempts()) / 3600


def _seconds(attempt: Attempt, record: Json) -> float:
    if "ended" in record:
        return facts.seconds_of(attempt, record)
    start = facts.moment(record.get("started"))
    if start is None:
        return 0.0
    return max(0.0, min(facts.last_sign(attempt), time.time()) - start)


@dataclass
class Budget:
    """A limit on GPU-hours and what is promised to cells at work.

    Args:
        limit: GPU-hours for the grid as a whole, earlier runs included; None is no limit.
    """

    limit: float | None
    used: float = 0.0
    _by_cell: dict[str, float] = field(default_factory=dict)

    def measure(self, cells: Sequence[Cell], runs: Sequence[RunDir]) -> None:
        """Read what these cells have used; of others, what was read before counts."""
        if self.limit is not None:
            self._by_cell |= {c.id: spent(c, run) for c, run in zip(cells, runs, strict=True)}
            self.used = sum(self._by_cell.values())

    def allows(self, wanted: float | None, promised: float) -> bool:
        """Whether a cell that is expected to use ``wanted`` may start.

        Args:
            wanted: GPU-hours; None when nothing is known: then it may start while anything is left.
            promised: GPU-hours that the cells at work are still expected to use.
        """
        if self.limit is None:
            return True
        return self.used + promised + (wanted or 0.0) <= self.limit and self.used < self.limit

    def is_used_up(self) -> bool:
        """Whether the cells at work must end."""
        return self.limit is not None and self.used >= self.limit

"""How a grid is to be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.executors.base import Executor
from cegppo_verl.launch.follow import Limits

RESULTS = Path("results/runs")


def _unknown_hours(cell: Cell) -> float | None:
    return None


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        results: folder of all run directories.
        warm: start interpreters as forks of one warm process (local executor, CPU platform).
        retries: further attempts after a failure that may pass (stall, memory, a lost node).
        early_stop: the grid's rules, JSON-ready.
        max_gpu_hours: for the grid as a whole, what earlier runs used included; None is no limit.
        hours: expected hours of a cell, None where nothing is known.
        priority: larger goes first.
        executor: where; None is this machine.
    """

    results: Path = RESULTS
    warm: bool = True
    retries: int = 2
    limits: Limits = field(default_factory=Limits)
    early_stop: tuple[Mapping[str, Any], ...] = ()
    max_gpu_hours: float | None = None
    hours: Callable[[Cell], float | None] = _unknown_hours
    priority: Callable[[Cell], int] = lambda cell: 0
    executor: Executor | None = None

"""Runs grouped the way they are compared: per scale, arm by arm, the first arm being the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cegppo_verl.losses import schedule
from cegppo_verl.reporting.runs import RunView


@dataclass(frozen=True)
class Arm:
    """One arm at one scale, with a run per training seed.

    Attributes:
        index: position in the grid; decides colour, dash and marker.
    """

    name: str
    index: int
    runs: tuple[RunView, ...]

    @property
    def finished(self) -> tuple[RunView, ...]:
        """Runs that count in tables."""
        return tuple(run for run in self.runs if run.done)

    @property
    def unfinished(self) -> tuple[RunView, ...]:
        """Runs that have not (yet) got to their end; drawn pale, in no table."""
        return tuple(run for run in self.runs if not run.done)

    @property
    def description(self) -> str:
        """Algorithm and parameters, e.g. ``cegppo (beta1=0.5, beta2=1.0)``."""
        cell = self.runs[0].cell
        parameters: dict[str, Any] = cell.get("params") or {}
        shown = {k: schedule.shown(v) if isinstance(v, dict) else v for k, v in parameters.items()}
        listing = ", ".join(f"{key}={value}" for key, value in shown.items() if value is not None)
        return f"{cell.get('algorithm', 'unknown')}" + (f" ({listing})" if listing else "")

    @property
    def total_steps(self) -> int:
        """Planned steps, the same for all seeds of an arm."""
        return max(run.total_steps for run in self.runs)

    def missing(self) -> str:
        """Why the arm has no number."""
        return "; ".join(dict.fromkeys(run.progress() for run in self.runs))

    def seeds_text(self) -> str:
        """``1 seed``, ``3 seeds`` or ``2 of 3 seeds``."""
        done, planned = len(self.finished), len(self.runs)
        count = f"{planned}" if done == planned else f"{done} of {planned}"
        return f"{count} seed{'s' * (planned > 1)}"


@dataclass(frozen=True)
class Study:
    """All arms at one scale; arms[0] is the baseline."""

    scale: str
    arms: tuple[Arm, ...]

    @property
    def runs(self) -> list[RunView]:
        """All runs, arm by arm."""
        return [run for arm in self.arms for run in arm.runs]

    @property
    def benchmarks(self) -> list[str]:
        """Names in the order of first appearance."""
        return list(dict.fromkeys(plan["name"] for run in self.runs for plan in run.benchmarks))

    @property
    def most_seeds(self) -> int:
        """Finished seeds of the arm that has most of them."""
        return max((len(arm.finished) for arm in self.arms), default=0)

    def samples_per_problem(self, benchmark: str) -> int:
        """k: planned samples per problem."""
        plans = [plan for run in self.runs for plan in run.benchmarks if plan["name"] == benchmark]
        return max((int(plan["samples"]) for plan in plans), default=1)


def studies(runs: Sequence[RunView]) -> list[Study]:
    """One study per scale, arms in the order in which their runs were given."""
    order = list(dict.fromkeys(run.arm for run in runs))
    return [
        Study(scale, _arms([run for run in runs if run.scale == scale], order))
        for scale in dict.fromkeys(run.scale for run in runs)
    ]


def _arms(runs: Sequence[RunView], order: list[str]) -> tuple[Arm, ...]:
    names = dict.fromkeys(run.arm for run in runs)
    return tuple(Arm(name, order.index(name), tuple(r for r in runs if r.arm == name)) for name in names)

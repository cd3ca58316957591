"""Which checkpoint's number goes into a table: stated once, the same for every arm.

    last            the last step that has a complete evaluation of the benchmark
    step:N          step N
    dev:BENCHMARK   the best step on a development benchmark; that benchmark's own number is then optimistic
    best            the best step of each benchmark on itself; optimistic, with the bias estimated

A tie goes to the earlier step. Arms of unequal length are an error unless the caller allows them: more
training is an advantage that is not the method's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.stats.selection import selection_bias

KINDS = ("last", "step", "dev", "best")
_FORMS = "last, step:N, dev:BENCHMARK or best"


@dataclass(frozen=True)
class Policy:
    """How to choose. ``step`` belongs to the kind "step", ``dev`` (a benchmark's name) to "dev"."""

    kind: str = "last"
    step: int | None = None
    dev: str | None = None

    @classmethod
    def parse(cls, text: str) -> Policy:
        """From ``last``, ``step:N``, ``dev:BENCHMARK`` or ``best``.

        Raises:
            UserError: none of these.
        """
        kind, _, value = text.partition(":")
        if kind not in KINDS:
            raise UserError(f"unknown checkpoint policy '{text}'", hint=did_you_mean(kind, KINDS))
        if kind == "step" and value.isdecimal():
            return cls(kind, step=int(value))
        if kind == "dev" and value:
            return cls(kind, dev=value)
        if kind in ("last", "best") and not value:
            return cls(kind)
        raise UserError(f"'{text}' is no checkpoint policy", hint=f"write {_FORMS}")

    def __str__(self) -> str:
        value = self.step if self.kind == "step" else self.dev
        return self.kind if value is None else f"{self.kind}:{value}"


@dataclass(frozen=True)
class Choice:
    """The checkpoint of one run for one benchmark.

    Attributes:
        step: its training steps. last: those of the run's last complete evaluation of the benchmark.
        accuracy: avg@k there, a share.
        optimistic: whether the same samples chose the step and give the number.
        bias: by how much, estimated (``stats/selection.py``, a lower bound); 0 when not optimistic.
        among: between how many checkpoints was chosen.
    """

    step: int
    last: int
    accuracy: float
    optimistic: bool = False
    bias: float = 0.0
    among: int = 1


def choose(table: pd.DataFrame, policy: Policy, rng: np.random.Generator | None = None) -> dict[str, Choice]:
    """The choice of one run, by benchmark.

    Args:
        table: rows of ``evaluation.scores.problems`` of one cell: step, benchmark, problem, n, c.
        rng: for the estimate of the bias; a fixed one when left out, so that the number is reproducible.

    Raises:
        UserError: the step, or the development benchmark, has no complete evaluation.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    grids = {str(name): _grid(rows) for name, rows in table.groupby("benchmark", observed=True)}
    return {name: _choose(name, grids, policy, rng) for name in grids}


@dataclass(frozen=True)
class _Grid:
    """Complete evaluations of a benchmark: steps (T,), n and c (T, P)."""

    steps: np.ndarray
    n: np.ndarray
    c: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        return (self.c / self.n).mean(1)


def _grid(rows: pd.DataFrame) -> _Grid:
    """A step that lacks a problem (an evaluation cut short) is left out: its mean is over other problems."""
    rows = rows.assign(problem=rows["problem"].astype(str))
    n = rows.pivot_table(index="step", columns="problem", values="n", aggfunc="sum", fill_value=0)
    c = rows.pivot_table(index="step", columns="problem", values="c", aggfunc="sum", fill_value=0)
    whole = (n > 0).all(axis=1)
    return _Grid(n.index[whole].to_numpy(), n[whole].to_numpy(), c[whole].to_numpy())


def _choose(name: str, grids: Mapping[str, _Grid], policy: Policy, rng: np.random.Generator) -> Choice:
    grid = grids[name]
    if not len(grid.steps):
        raise UserError(f"no complete evaluation of {name}", hint="evaluate it, or leave it out")
    step = _step(name, grids, policy)
    place = np.flatnonzero(grid.steps == step)
    if not len(place):
        raise UserError(f"no complete evaluation of {name} at step {step}", hint=_evaluated(grid))
    optimistic = policy.kind == "best" or policy.dev == name
    bias = selection_bias(grid.n, grid.c, rng) if optimistic else 0.0
    among = 1 if policy.kind in ("last", "step") else len(grids[policy.dev or name].steps)
    accuracy = float(grid.accuracy[place[0]])
    return Choice(step, int(grid.steps[-1]), accuracy, optimistic and among > 1, bias, among)


def _step(name: str, grids: Mapping[str, _Grid], policy: Policy) -> int:
    if policy.kind == "step":
        return int(policy.step or 0)
    if policy.kind == "last":
        return int(grids[name].steps[-1])
    judge = policy.dev or name
    if judge not in grids or not len(grids[judge].steps):
        raise UserError(f"no evaluation of the development set '{judge}'", hint=did_you_mean(judge, grids))
    return int(grids[judge].steps[grids[judge].accuracy.argmax()])


def _evaluated(grid: _Grid) -> str:
    return f"choose one of the steps {', '.join(map(str, grid.steps))}"


def choose_for_arms(
    arms: Mapping[str, Sequence[pd.DataFrame]], policy: Policy, *, allow_unequal: bool = False
) -> dict[str, list[dict[str, Choice]]]:
    """The choices of several arms that shall stand in one table, per arm one dict per run.

    Args:
        arms: per arm the tables of its runs, see :func:`choose`.
        allow_unequal: compare runs of unequal length all the same; say so beside the numbers.

    Raises:
        UserError: as :func:`choose`; or runs were trained for different numbers of steps, with "step:N"
            excepted, where all are compared at the same one.
    """
    chosen = {arm: [choose(run, policy) for run in runs] for arm, runs in arms.items()}
    if policy.kind != "step" and not allow_unequal:
        require_equal_steps({arm: _lasts(runs) for arm, runs in chosen.items()})
    return chosen


def _lasts(runs: Sequence[Mapping[str, Choice]]) -> set[int]:
    return {choice.last for run in runs for choice in run.values()}


def require_equal_steps(lasts: Mapping[str, set[int]]) -> None:
    """Refuse arms whose last evaluated steps are not one and the same.

    Args:
        lasts: per arm the last steps of its runs.

    Raises:
        UserError: names every arm and its last steps.
    """
    steps = {step for found in lasts.values() for step in found}
    if len(steps) > 1:
        shown = "; ".join(f"{arm}: {', '.join(map(str, sorted(found)))}" for arm, found in lasts.items())
        hint = f"compare at step:{min(steps)}, or allow unequal steps and say so"
        raise UserError(f"runs of unequal length would be compared, last steps are {shown}", hint=hint)

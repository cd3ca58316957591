"""Intervals for means over crossed seeds and problems that hold their coverage with two or three seeds.

Model: score of seed s on problem p = mean + seed + problem + (seed × problem and sampling). The variance of a
mean then has two parts, one that more seeds shrink and one that more problems shrink,

    V_seed    = max(between seeds − noise, 0),   between seeds = Var_s(mean of s) / S
    V_problem = Var_p(mean of p) / P             (holds the noise already)
    noise     = mean square of the interaction / (S·P)

and the half-width adds the two parts' own t half-widths by squares (Howe 1974, JASA 69:789):

    h² = t²(S−1) · V_seed + t²(P−1) · V_problem

Percentile bootstraps of three seeds have a standard error that is √(2/3) of the right one and a normal's
quantile instead of t's: reports/statistics.md measures all of them. For a difference the problems are paired,
the two arms' seed parts add, with Welch's degrees of freedom. A macro average weighs benchmarks equally; its
seeds are the same runs on every benchmark, its problems lie within benchmarks (strata).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from cegppo_verl.stats.interval import NAN, Interval, all_alike, no_interval
from cegppo_verl.stats.paired import PairedDifference

Over = Literal["seeds and problems", "seeds", "problems"]
SCOPES: dict[Over, str] = {
    "seeds and problems": "new seeds and problems",
    "seeds": "new seeds, these problems",
    "problems": "these runs, new problems",
}


@dataclass(frozen=True)
class Spread:
    """The variance of an estimate in two parts, each with its degrees of freedom (NaN for a part of 0)."""

    seed: float
    seed_df: float
    problem: float
    problem_df: float

    @property
    def standard_error(self) -> float:
        """√(seed + problem)."""
        return float(np.sqrt(self.seed + self.problem))

    def half_width(self, level: float) -> float:
        """h at this level; 0 when both parts are 0."""
        parts = [(self.seed, self.seed_df), (self.problem, self.problem_df)]
        squares = [stdtrit(df, (1 + level) / 2) ** 2 * v for v, df in parts if v > 0]
        return float(np.sqrt(sum(squares)))


def mean_interval(
    tables: Sequence[np.ndarray], *, over: Over = "seeds and problems", level: float = 0.95
) -> Interval:
    """Mean over benchmarks of the mean over seeds and problems, with its interval, for scores within 0 and 1.

    Args:
        tables: one (S, P_b) per benchmark, S the same runs in all of them: ``cell_means`` for avg@k,
            ``pass_at_k`` or ``maj_at_k`` of the counts. NaN: not sampled; a problem that lacks any seed is
            left out.
        over: what would be new in a repetition. "problems" is conditional on the runs, and what one seed
            gives whatever was asked (``scope`` says so); "seeds" takes the benchmarks as they are.

    Raises:
        ValueError: no table, or different numbers of seeds.
    """
    cells = [complete(table) for table in _checked(tables)]
    seeds, problems = len(cells[0]), sum(table.shape[1] for table in cells)
    point = float(np.mean([table.mean() if table.size else NAN for table in cells]))
    over = _possible(over, seeds)
    if problems and point in (0.0, 1.0):
        return all_alike(point == 1.0, level, seeds, problems, SCOPES[over])
    if (seeds < 2 and over == "seeds") or min(table.shape[1] for table in cells) < 2:
        return no_interval(point, level, seeds, problems, SCOPES[over])
    half = spread([cells], cells, over).half_width(level)
    low, high = max(point - half, 0.0), min(point + half, 1.0)
    return Interval(point, low, high, level, seeds, problems, "t", SCOPES[over])


def difference_interval(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    *,
    over: Over = "seeds and problems",
    level: float = 0.95,
) -> PairedDifference:
    """Arm a minus arm b, paired per problem, with interval and the two-sided p-value that agrees with it.

    Args:
        a, b: as ``tables`` of ``mean_interval``, (S_a, P_b) and (S_b, P_b) per benchmark; column p is the
            same problem in both. Problems that lack a seed in either arm are left out.

    Raises:
        ValueError: the benchmarks or their numbers of problems differ.
    """
    left, right = shared(a, b)
    paired = [x.mean(0, keepdims=True) - y.mean(0, keepdims=True) for x, y in zip(left, right, strict=True)]
    seeds, problems = min(len(left[0]), len(right[0])), sum(d.shape[1] for d in paired)
    point = float(np.mean([d.mean() if d.size else NAN for d in paired]))
    over = _possible(over, seeds)
    if (seeds < 2 and over == "seeds") or min(d.shape[1] for d in paired) < 2:
        return PairedDifference(no_interval(point, level, seeds, problems, SCOPES[over]), NAN)
    found = spread([left, right], paired, over)
    half = found.half_width(level)
    interval = Interval(point, point - half, point + half, level, seeds, problems, "t", SCOPES[over])
    return PairedDifference(interval, p_value(point, found))


def p_value(point: float, found: Spread) -> float:
    """Two-sided p-value of "it is 0": one minus the level at which the interval just reaches 0."""
    if found.standard_error == 0:
        return 1.0 if point == 0 else 0.0
    if found.half_width(1 - 1e-12) <= abs(point):
        return 1e-12
    return float(brentq(lambda p: found.half_width(1 - p) - abs(point), 1e-12, 1.0))


def spread(arms: Sequence[Sequence[np.ndarray]], paired: Sequence[np.ndarray], over: Over) -> Spread:
    """The two parts of the variance.

    Args:
        arms: one or two arms' tables, each (S, P_b) per benchmark, without NaN.
        paired: (S or 1, P_b) per benchmark, what the problems' part is taken from: the arm itself, or the
            difference of the arms' means per problem.
    """
    between = np.array([_between(arm) if over != "problems" else 0.0 for arm in arms])
    noise = sum(_noise(arm) for arm in arms) if over == "seeds and problems" else 0.0
    seed = max(float(between.sum()) - noise, 0.0)
    seed_df = satterthwaite(between, np.array([len(arm[0]) - 1 for arm in arms]))
    if over == "seeds":
        return Spread(seed, seed_df, 0.0, NAN)
    parts = np.array([table.mean(0).var(ddof=1) / table.shape[1] for table in paired]) / len(paired) ** 2
    return Spread(seed, seed_df, float(parts.sum()), satterthwaite(parts, [p.shape[1] - 1 for p in paired]))


def satterthwaite(variances: np.ndarray, df: Sequence[int] | np.ndarray) -> float:
    """Degrees of freedom of a sum of independent variances, (Σv)² / Σ(v²/df) (Satterthwaite 1946)."""
    variances, df = np.asarray(variances, np.float64), np.asarray(df, np.float64)
    known = variances > 0
    total = variances[known].sum()
    return float(total**2 / (variances[known] ** 2 / df[known]).sum()) if total > 0 else NAN


def interaction_mean_square(table: np.ndarray) -> float:
    """Mean square of seed × problem, (S, P) without NaN: residuals of the additive fit over (S−1)(P−1)."""
    seeds, problems = table.shape
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    return float((residual**2).sum() / ((seeds - 1) * (problems - 1)))


def complete(table: np.ndarray) -> np.ndarray:
    """(S, P) or (P,) → (S, P') with the problems that have a score for every seed."""
    table = np.atleast_2d(np.asarray(table, np.float64))
    return table[:, ~np.isnan(table).any(0)]


def shared(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Both arms' tables with the problems that every seed of both has, per benchmark."""
    a, b = _checked(a), _checked(b)
    if [table.shape[1] for table in a] != [table.shape[1] for table in b]:
        raise ValueError("arms must share benchmarks and problems")
    both = [~(np.isnan(x).any(0) | np.isnan(y).any(0)) for x, y in zip(a, b, strict=True)]
    return [x[:, k] for x, k in zip(a, both, strict=True)], [y[:, k] for y, k in zip(b, both, strict=True)]


def _checked(tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    checked = [np.atleast_2d(np.asarray(table, np.float64)) for table in tables]
    if len({len(table) for table in checked}) != 1:
        raise ValueError("every benchmark needs the same runs, and there must be one")
    return checked


def _possible(over: Over, seeds: int) -> Over:
    """One seed says nothing about others: the interval is then conditional on the run."""
    if over not in SCOPES:
        raise ValueError(f"over must be one of {tuple(SCOPES)}, got {over!r}")
    return "problems" if seeds < 2 and over == "seeds and problems" else over


def _between(arm: Sequence[np.ndarray]) -> float:
    """Variance of the mean over seeds, from the spread of the seeds' own (macro) means."""
    return float(np.mean([table.mean(1) for table in arm], axis=0).var(ddof=1) / len(arm[0]))


def _noise(arm: Sequence[np.ndarray]) -> float:
    """What of ``_between`` comes from interaction and sampling."""
    return sum(interaction_mean_square(table) / table.size for table in arm) / len(arm) ** 2

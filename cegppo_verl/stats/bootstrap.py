"""Hierarchical bootstrap over training seeds, problems and samples. Point and interval always come together.

Problems are *crossed* with seeds (every seed is evaluated on the same ones), so each replicate draws the
problems once and uses them for all drawn seeds. Drawing them anew per seed would treat the shared difficulty
of a problem as independent and give intervals that are too narrow. Samples are drawn anew per drawn (seed,
problem); verdicts being 0 or 1, drawing n of n with replacement is a binomial, which keeps every step
vectorised. With many samples all three layers are products of weights instead (stats/weights.py).

With few samples per problem the sample layer makes intervals a little too wide (resampled problems already
carry sampling noise); with fewer than about five seeds the seed layer makes them too narrow. tests/stats
measures both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from math import comb
from typing import Literal

import numpy as np
from scipy.special import gammaln

from cegppo_verl.stats import weights
from cegppo_verl.stats.estimators import mean_over_problems, nanmean, pass_at_k, problem_counts
from cegppo_verl.stats.interval import Interval, all_alike, no_interval

Unit = Literal["seed", "problem", "sample"]
_LAYERS: tuple[Unit, ...] = ("seed", "problem", "sample")
_CHUNK = 4_000_000  # numbers held at once
_MANY_SAMPLES = 500  # from here on the sample layer's mean is normal for all that percentiles can tell
_MOST_DRAWS = 1000  # different draws of seeds that are enumerated and not drawn: up to 6 seeds


@dataclass(frozen=True)
class Band:
    """Mean curve over seeds with its band, each (T,)."""

    point: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int


def bootstrap_accuracy(
    correct: np.ndarray,
    rng: np.random.Generator,
    *,
    unit: Unit = "seed",
    n_resamples: int = 2000,
    level: float = 0.95,
    draws: weights.ProblemDraws | None = None,
) -> Interval:
    """avg@k with a percentile interval.

    Args:
        correct: (S, P, K) or (P, K), 0/1, NaN for samples that do not exist.
        rng: the only source of randomness.
        unit: the outermost layer resampled; the layers inside it are resampled too. "seed" with one seed is
            the same as "problem": the interval then says nothing about other training runs.
        draws: of problems, shared with other arms; used where products of weights are.

    Raises:
        ValueError: on other values than 0, 1, NaN, or an unknown unit.
    """
    n, c = problem_counts(correct)
    point = mean_over_problems(_ratio(n, c))
    if c.sum() in (0, n.sum()) and n.sum():
        return _all_alike(n, c, level)
    if (n.sum(0) > 0).sum() < 2:
        return _no_interval(float(point), n, level)
    if weighable(n):
        found = weights.replicates([(1.0, [weights.cells(n, c)])], rng, _layers(unit), n_resamples, draws)
    else:
        found = resample_means(n, c, rng, unit, n_resamples, mean_over_problems)
    return _percentiles(float(point), found, n, level)


def weighable(n: np.ndarray) -> bool:
    """Whether products of weights (stats/weights.py) give what drawing every sample would."""
    return bool((n > 0).all() and n.sum() >= _MANY_SAMPLES)


def _layers(unit: str) -> int:
    if unit not in _LAYERS:
        raise ValueError(f"unit must be one of {_LAYERS}, got {unit!r}")
    return len(_LAYERS) - _LAYERS.index(unit)


def bootstrap_pass_at_k(
    correct: np.ndarray,
    k: int,
    rng: np.random.Generator,
    *,
    unit: Literal["seed", "problem"] = "seed",
    n_resamples: int = 2000,
    level: float = 0.95,
    draws: weights.ProblemDraws | None = None,
) -> Interval:
    """Unbiased pass@k with a percentile interval over seeds and problems.

    Samples are never resampled here: duplicates bias pass@k down (1 right of 32 gives .638 at k = 32 and not
    1). ``draws`` as in ``bootstrap_accuracy``.
    """
    n, c = problem_counts(correct)
    per_problem = pass_at_k(n, c, k)
    point = float(mean_over_problems(per_problem))
    if np.isfinite(per_problem).any(0).sum() < 2:
        return _no_interval(point, n, level)
    if np.isin(per_problem[np.isfinite(per_problem)], point).all() and point in (0.0, 1.0):
        return _all_alike(n, c, level)
    if np.isfinite(per_problem).all():
        exact = [(per_problem, np.zeros_like(per_problem))]  # no sample layer: no variance of its own
        found = weights.replicates([(1.0, exact)], rng, _layers(unit), n_resamples, draws)
        return _percentiles(point, found, n, level)
    taken = [
        _take(per_problem, *_draw(rng, per_problem.shape, unit, size))
        for size in _chunks(n_resamples, n.size)
    ]
    return _percentiles(point, np.concatenate([mean_over_problems(one) for one in taken]), n, level)


def bootstrap_curves(
    curves: np.ndarray, rng: np.random.Generator, *, n_resamples: int = 2000, level: float = 0.95
) -> Band:
    """Mean over seeds of curves (S, T), with a pointwise percentile band; no band with one seed.

    Few seeds have few different draws: then the bootstrap distribution itself is used, and nothing is random.
    """
    curves = np.asarray(curves, np.float64)
    point = nanmean(curves.T)
    if len(curves) < 2:
        empty = np.full_like(point, np.nan)
        return Band(point, empty, empty, len(curves))
    if comb(2 * len(curves) - 1, len(curves)) <= _MOST_DRAWS and not np.isnan(curves).any():
        shares, probability = _all_draws(len(curves))
        low, high = (_weighted_quantile(shares @ curves, probability, q) for q in _tails(level))
        return Band(point, low, high, len(curves))
    index = rng.integers(len(curves), size=(n_resamples, len(curves)))
    means = np.stack([nanmean(column[index]) for column in curves.T], axis=1)
    low, high = np.nanquantile(means, _tails(level), axis=0)
    return Band(point, low, high, len(curves))


@cache
def _all_draws(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Every draw of ``count`` seeds with replacement, order aside: shares (draws, count), probabilities."""
    draws = np.array(list(combinations_with_replacement(range(count), count)))
    times = (draws[:, :, None] == np.arange(count)).sum(1)
    log_ways = gammaln(count + 1) - gammaln(times + 1).sum(1)
    return times / count, np.exp(log_ways - count * np.log(count))


def _weighted_quantile(values: np.ndarray, probability: np.ndarray, q: float) -> np.ndarray:
    """Smallest value of each column of (draws, T) that at least ``q`` of the probability lies at or below."""
    order = np.argsort(values, axis=0)
    below = np.cumsum(probability[order], axis=0)
    place = (below < q - 1e-12).sum(0).clip(0, len(values) - 1)
    columns = np.arange(values.shape[1])
    return values[order[place, columns], columns]


def resample_means(n, c, rng, unit, n_resamples, statistic):  # type: ignore[no-untyped-def]
    """Replicates of ``statistic`` of the per-problem means.

    Args:
        n, c: samples and correct samples, (S, P).
        statistic: (B, S, P) → (B, …), applied chunk by chunk.

    Returns:
        (n_resamples, …)
    """
    parts = []
    for size in _chunks(n_resamples, n.size):
        seeds, problems = _draw(rng, n.shape, unit, size)
        parts.append(statistic(draw_samples(_take(n, seeds, problems), _take(c, seeds, problems), rng)))
    return np.concatenate(parts)


def draw_samples(n: np.ndarray, c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of n verdicts drawn with replacement from n of which c are right; NaN where n = 0. Any shape."""
    return _ratio(n, rng.binomial(n, np.nan_to_num(_ratio(n, c))))


def _draw(
    rng: np.random.Generator, shape: tuple[int, ...], unit: str, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Seed indices (B, S) and problem indices (B, P), in order where that layer is not resampled."""
    layers = _layers(unit)
    return _indices(rng, shape[0], size, layers >= 3), _indices(rng, shape[1], size, layers >= 2)


def _indices(rng: np.random.Generator, count: int, size: int, resample: bool) -> np.ndarray:
    if resample and count > 1:
        return rng.integers(count, size=(size, count))
    return np.broadcast_to(np.arange(count), (size, count))


def _take(values: np.ndarray, seeds: np.ndarray, problems: np.ndarray) -> np.ndarray:
    """(S, P) at (B, S), (B, P) → (B, S, P): the same problems for every drawn seed."""
    return values[seeds[:, :, None], problems[:, None, :]]


def _ratio(n: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.divide(c, n, out=np.full(np.shape(n), np.nan), where=n > 0)


def _chunks(total: int, size_of_one: int) -> list[int]:
    size = max(1, _CHUNK // max(1, size_of_one))
    return [min(size, total - start) for start in range(0, total, size)]


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _percentiles(point: float, replicates: np.ndarray, n: np.ndarray, level: float) -> Interval:
    low, high = np.nanquantile(replicates, _tails(level))
    return Interval(point, float(low), float(high), level, n.shape[0], int((n.sum(0) > 0).sum()))


def _no_interval(point: float, n: np.ndarray, level: float) -> Interval:
    return no_interval(point, level, n.shape[0], int((n.sum(0) > 0).sum()))


def _all_alike(n: np.ndarray, c: np.ndarray, level: float) -> Interval:
    return all_alike(bool(c.sum()), level, n.shape[0], int((n.sum(0) > 0).sum()))

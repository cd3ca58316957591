"""Difference between two arms, paired per problem, and Holm's correction over a family of them.

The pairing removes the problems' difficulty from the comparison (half-width about 3.8 points instead of 13 on
30 problems). The permutation test flips signs of per-problem differences: it asks whether *these trained
models* differ on such problems, and says nothing about other training seeds; the interval covers seeds when
there are any.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cegppo_verl.stats import weights
from cegppo_verl.stats.bootstrap import (
    Interval,
    Unit,
    _draw,
    _layers,
    _ratio,
    _tails,
    _take,
    draw_samples,
    weighable,
)
from cegppo_verl.stats.estimators import nanmean, problem_counts

_EXACT_UP_TO = 14  # 2^14 sign patterns are fewer than the default number of random ones


@dataclass(frozen=True)
class PairedDifference:
    """Mean per-problem difference a − b with interval and two-sided p-value (NaN when it cannot be had)."""

    interval: Interval
    p_value: float


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    rng: np.random.Generator,
    *,
    unit: Unit = "seed",
    n_resamples: int = 2000,
    n_permutations: int = 20_000,
    level: float = 0.95,
    draws: weights.ProblemDraws | None = None,
) -> PairedDifference:
    """avg@k of arm a minus arm b over the same problems.

    Args:
        a, b: (S_a, P, K_a) and (S_b, P, K_b) (or without the seed axis), 0/1/NaN; row p is the same problem
            in both. Problems without samples in one of them are left out.
        unit: as in ``bootstrap_accuracy``; problems are drawn jointly for both arms, seeds and samples apart.
        draws: as in ``bootstrap_accuracy``.

    Raises:
        ValueError: the numbers of problems differ.
    """
    (n_a, c_a), (n_b, c_b) = problem_counts(a), problem_counts(b)
    if n_a.shape[1] != n_b.shape[1]:
        raise ValueError(f"arms must share problems, got {n_a.shape[1]} and {n_b.shape[1]}")
    both = (n_a.sum(0) > 0) & (n_b.sum(0) > 0)
    n_a, c_a, n_b, c_b = (counts[:, both] for counts in (n_a, c_a, n_b, c_b))
    differences = _over_seeds(_ratio(n_a, c_a)) - _over_seeds(_ratio(n_b, c_b))
    seeds, problems = min(len(n_a), len(n_b)), int(both.sum())
    if problems < 2:
        point = float(differences[0]) if problems else float("nan")
        nan = float("nan")
        return PairedDifference(Interval(point, nan, nan, level, seeds, problems, "none"), nan)
    replicates = _replicates((n_a, c_a), (n_b, c_b), rng, unit, n_resamples, draws)
    low, high = np.nanquantile(replicates, _tails(level))
    interval = Interval(float(differences.mean()), float(low), float(high), level, seeds, problems)
    return PairedDifference(interval, sign_flip_p(differences, rng, n_permutations=n_permutations))


def _over_seeds(per_problem: np.ndarray) -> np.ndarray:
    """(…, S, P) → (…, P)."""
    return nanmean(np.swapaxes(per_problem, -1, -2))


def _replicates(a, b, rng, unit, n_resamples, draws=None, chunk=256):  # type: ignore[no-untyped-def]
    if weighable(a[0]) and weighable(b[0]):
        signed = [(1.0, [weights.cells(*a)]), (-1.0, [weights.cells(*b)])]
        return weights.replicates(signed, rng, _layers(unit), n_resamples, draws)
    parts = []
    for start in range(0, n_resamples, chunk):
        size = min(chunk, n_resamples - start)
        _, problems = _draw(rng, a[0].shape, unit, size)
        arms = [_arm_replicate(arm, problems, rng, unit) for arm in (a, b)]
        parts.append(nanmean(arms[0] - arms[1]))
    return np.concatenate(parts)


def _arm_replicate(arm, problems, rng, unit):  # type: ignore[no-untyped-def]
    n, c = arm
    seeds, _ = _draw(rng, (n.shape[0], 1), unit, len(problems))
    return _over_seeds(draw_samples(_take(n, seeds, problems), _take(c, seeds, problems), rng))


def sign_flip_p(differences: np.ndarray, rng: np.random.Generator, *, n_permutations: int = 20_000) -> float:
    """Two-sided p-value of mean(differences) = 0 under independent sign flips of each difference (P,).

    Exact (all 2^P patterns) up to 14 problems; else (1 + hits) / (1 + draws), which is never 0.
    """
    differences = np.asarray(differences, np.float64)
    count = len(differences)
    exact = count <= _EXACT_UP_TO
    if exact:
        bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
        sums = (1.0 - 2.0 * bits) @ differences
    else:
        sums = _random_flips(differences, rng, n_permutations)
    hits = int((np.abs(sums) >= abs(differences.sum()) - 1e-9).sum())  # ties count, whatever the rounding
    return hits / len(sums) if exact else (1 + hits) / (1 + n_permutations)


def _random_flips(differences: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,) sums under random signs, a bit each, in pieces: millions of signs are never floats at once."""
    parts, size = [], max(1, 1_000_000 // len(differences))
    for start in range(0, count, size):
        rows = min(size, count - start)
        random = np.frombuffer(rng.bytes(-(-rows * len(differences) // 8)), np.uint8)
        bits = np.unpackbits(random, count=rows * len(differences)).reshape(rows, -1)
        parts.append(bits.astype(np.float64) @ differences)  # float64: ties must stay ties
    return differences.sum() - 2.0 * np.concatenate(parts)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values (Holm 1979), same order; NaN entries are no part of the family."""
    p_values = np.asarray(p_values, np.float64)
    adjusted = np.full(p_values.shape, np.nan)
    family = np.flatnonzero(~np.isnan(p_values))
    order = family[np.argsort(p_values[family], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted

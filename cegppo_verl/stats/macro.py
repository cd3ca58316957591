"""Macro averages over benchmarks by a stratified bootstrap: seeds → problems within each benchmark → samples.

The runs are the same on every benchmark, so a replicate draws the seeds once; drawing them per benchmark
would average a run's luck away and give intervals too narrow by up to √(number of benchmarks). Problems are
drawn within their benchmark, so that each keeps its weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cegppo_verl.stats.bootstrap import _LAYERS, Unit, _tails
from cegppo_verl.stats.estimators import mean_over_problems, problem_counts
from cegppo_verl.stats.interval import Interval, all_alike, no_interval
from cegppo_verl.stats.weights import Arm, replicates


def bootstrap_macro(
    benchmarks: Sequence[np.ndarray],
    rng: np.random.Generator,
    *,
    unit: Unit = "seed",
    n_resamples: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Mean over benchmarks of avg@k, with a percentile interval.

    Args:
        benchmarks: one (S, P_b, K_b) per benchmark, 0/1/NaN, the same S runs in all. A problem that lacks
            samples of any run is left out.
        unit: the outermost layer resampled, the layers inside it are too; as in ``bootstrap_accuracy``.

    Raises:
        ValueError: verdicts other than 0, 1, NaN; unequal numbers of runs; unknown unit.
    """
    arm = _arm(benchmarks)
    point, (seeds, problems) = _point(arm), _size(arm)
    if point in (0.0, 1.0):
        return all_alike(point == 1.0, level, seeds, problems)
    if min(means.shape[1] for means, _ in arm) < 2:
        return no_interval(point, level, seeds, problems)
    return _interval(point, [(1.0, arm)], rng, unit, n_resamples, level)


def bootstrap_macro_difference(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    rng: np.random.Generator,
    *,
    unit: Unit = "seed",
    n_resamples: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Macro avg@k of arm a minus arm b: problems drawn jointly for both, seeds and samples apart.

    Args:
        a, b: (S_a, P_b, K) and (S_b, P_b, K') per benchmark; row p is the same problem in both.

    Raises:
        ValueError: as ``bootstrap_macro``, and when benchmarks or problems differ.
    """
    left, right = _shared(_arm(a, drop=False), _arm(b, drop=False))
    if min(means.shape[1] for means, _ in left) < 2:
        seeds, problems = _size(left)
        return no_interval(_point(left) - _point(right), level, seeds, problems)
    arms = [(1.0, left), (-1.0, right)]
    return _interval(_point(left) - _point(right), arms, rng, unit, n_resamples, level)


def macro_replicates(
    arms: Sequence[tuple[float, Arm]], rng: np.random.Generator, unit: Unit, n_resamples: int
) -> np.ndarray:
    """(n_resamples,) of Σ sign · macro mean over the arms, problems shared between them."""
    if unit not in _LAYERS:
        raise ValueError(f"unit must be one of {_LAYERS}, got {unit!r}")
    return replicates(arms, rng, len(_LAYERS) - _LAYERS.index(unit), n_resamples)


def _arm(benchmarks: Sequence[np.ndarray], drop: bool = True) -> Arm:
    counts = [problem_counts(correct) for correct in benchmarks]
    if len({len(n) for n, _ in counts}) != 1:
        raise ValueError("every benchmark needs the same runs, and there must be one")
    arm = []
    for n, c in counts:
        known = (n > 0).all(0) if drop else np.ones(n.shape[1], bool)
        means = np.divide(c, n, out=np.full(n.shape, np.nan), where=n > 0)[:, known]
        arm.append((means, means * (1 - means) / np.maximum(n[:, known], 1)))
    return arm


def _shared(a: Arm, b: Arm) -> tuple[Arm, Arm]:
    if [m.shape[1] for m, _ in a] != [m.shape[1] for m, _ in b]:
        raise ValueError("arms must share benchmarks and problems")
    both = [~(np.isnan(x).any(0) | np.isnan(y).any(0)) for (x, _), (y, _) in zip(a, b, strict=True)]
    left, right = ([(m[:, k], v[:, k]) for (m, v), k in zip(arm, both, strict=True)] for arm in (a, b))
    return left, right


def _point(arm: Arm) -> float:
    return float(np.mean([mean_over_problems(means) for means, _ in arm]))


def _size(arm: Arm) -> tuple[int, int]:
    return len(arm[0][0]), sum(means.shape[1] for means, _ in arm)


def _interval(point, arms, rng, unit, n_resamples, level):  # type: ignore[no-untyped-def]
    low, high = np.quantile(macro_replicates(arms, rng, unit, n_resamples), _tails(level))
    seeds = min(len(arm[0][0]) for _, arm in arms)
    return Interval(point, float(low), float(high), level, seeds, _size(arms[0][1])[1])

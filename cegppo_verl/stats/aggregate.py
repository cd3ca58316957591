"""IQM, optimality gap, probability of improvement and performance profiles (Agarwal et al. 2021, rliable).

Same definitions as theirs (arXiv 2108.13264, Sec. 4; the tests agree with their published numbers on their
own data). Scores are matrices (N runs, M tasks). Which units are resampled is an argument, because our data
differ from theirs: an Atari run plays one game, so they draw runs independently per task ("run"); one of our
runs is evaluated on every benchmark, so whole rows must be drawn ("shared run"), or a run's luck is averaged
away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from cegppo_verl.stats.bootstrap import Band, _chunks, _tails
from cegppo_verl.stats.interval import Interval, no_interval

RunUnit = Literal["shared run", "run", "run and task"]
Method = Literal["t", "percentile"]
Statistic = Callable[[np.ndarray], np.ndarray]  # (…, N, M) → (…) or (…, T)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean of (…, N, M) → (…): mean of the middle half of all runs × tasks.

    A quarter of the N·M scores, rounded down, is cut at either end (Sec. 4.3; as scipy's ``trim_mean``).
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> np.ndarray:
    """(…, N, M) → (…): by how much the mean of min(score, target) misses the target (Sec. 4.3)."""
    return target - np.minimum(scores, target).mean((-2, -1))


def median_of_means(scores: np.ndarray) -> np.ndarray:
    """(…, N, M) → (…): median over tasks of the mean over runs."""
    return np.median(scores.mean(-2), axis=-1)


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P(X > Y) averaged over tasks, ties counted half: Mann–Whitney's U / (N·N') per task (Sec. 4.3).

    Args:
        x, y: (…, N, M) and (…, N', M).
    """
    pairs = x[..., :, None, :], y[..., None, :, :]
    return ((pairs[0] > pairs[1]) + 0.5 * (pairs[0] == pairs[1])).mean((-3, -2, -1))


def profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs × tasks scoring above each threshold, (…, N, M), (T,) → (…, T) (Sec. 4.2)."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    rows = flat.reshape(-1, flat.shape[-1])
    below = np.stack([np.searchsorted(row, thresholds, side="right") for row in rows])
    return (1 - below / flat.shape[-1]).reshape(*flat.shape[:-1], len(thresholds))


def aggregate(
    scores: np.ndarray,
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    unit: RunUnit = "shared run",
    method: Method = "t",
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """A statistic of runs × tasks with a bootstrap interval.

    Args:
        scores: (N, M), finite.
        statistic: vectorised over leading axes, e.g. ``iqm``.
        unit: "shared run": a run was scored on all tasks, rows are drawn; "run": runs are drawn per task
            (rliable's stratified bootstrap); "run and task": tasks too (its ``task_bootstrap``).
        method: "t": bootstrap standard error · √(N/(N−1)) · t(N−1), which holds with three runs;
            "percentile": rliable's, too narrow below about ten runs.

    Raises:
        ValueError: scores are not a finite matrix, or the unit is unknown.
    """
    scores = _matrix(scores)
    replicates = resample((scores,), statistic, rng, unit, n_resamples)
    return _interval(float(statistic(scores)), replicates, level, scores, method)


def improvement(
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    *,
    unit: RunUnit = "shared run",
    method: Method = "t",
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Probability that (N, M) improves on (N', M), with its interval; arguments as ``aggregate``.

    The arms' runs are drawn apart; tasks, where they are drawn, jointly.
    """
    x, y = _matrix(x), _matrix(y)
    replicates = resample((x, y), probability_of_improvement, rng, unit, n_resamples)
    point = float(probability_of_improvement(x, y))
    found = _interval(point, replicates, level, min(x, y, key=len), method)
    return replace(found, low=float(np.maximum(found.low, 0.0)), high=float(np.minimum(found.high, 1.0)))


def profile_band(
    scores: np.ndarray,
    thresholds: np.ndarray,
    rng: np.random.Generator,
    *,
    unit: RunUnit = "shared run",
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Band:
    """Performance profile of (N, M) at thresholds (T,) with a pointwise percentile band, each (T,)."""
    scores, thresholds = _matrix(scores), np.asarray(thresholds, np.float64)
    replicates = resample((scores,), lambda drawn: profile(drawn, thresholds), rng, unit, n_resamples)
    low, high = np.quantile(replicates, _tails(level), axis=0)
    return Band(profile(scores, thresholds), low, high, len(scores))


def resample(
    arms: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    rng: np.random.Generator,
    unit: RunUnit,
    n_resamples: int,
) -> np.ndarray:
    """Replicates (n_resamples, …) of ``statistic(*arms)``, each arm (N, M) drawn as ``unit`` says."""
    if unit not in ("shared run", "run", "run and task"):
        raise ValueError(f"unit must be 'shared run', 'run' or 'run and task', got {unit!r}")
    parts = []
    for size in _chunks(n_resamples, max(arm.size for arm in arms)):
        count = arms[0].shape[1]
        tasks = rng.integers(count, size=(size, 1, count)) if unit == "run and task" else np.arange(count)
        parts.append(statistic(*(_draw(arm, tasks, rng, unit, size) for arm in arms)))
    return np.concatenate(parts)


def _draw(
    scores: np.ndarray, tasks: np.ndarray, rng: np.random.Generator, unit: str, size: int
) -> np.ndarray:
    width = 1 if unit == "shared run" else scores.shape[1]
    runs = rng.integers(len(scores), size=(size, len(scores), width))
    return scores[runs, tasks]


def _matrix(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be a finite matrix (runs, tasks), got shape {scores.shape}")
    return scores


def _interval(
    point: float, replicates: np.ndarray, level: float, scores: np.ndarray, method: str
) -> Interval:
    runs, tasks = scores.shape
    if runs < 2:
        return no_interval(point, level, runs, tasks)
    if method == "percentile":
        low, high = np.quantile(replicates, _tails(level))
        return Interval(point, float(low), float(high), level, runs, tasks)
    half = float(stdtrit(runs - 1, (1 + level) / 2) * np.sqrt(runs / (runs - 1)) * replicates.std())
    return Interval(point, point - half, point + half, level, runs, tasks, "bootstrap t")

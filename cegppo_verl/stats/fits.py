"""Reward against compute (ScaleRL's sigmoid) and against entropy, with bootstrap intervals.

Points of one run follow each other, so they are no independent draws. With two seeds or more the unit is the
seed: whole curves are redrawn. Percentiles of a few redrawn curves are far too narrow, so the interval is the
bootstrap's standard error times √(S/(S−1)) times t's quantile with S − 1 degrees of freedom. Within one run
noise like the residuals is redrawn, with their first autocorrelation (sieve bootstrap of order 1, Bühlmann
1997); that says nothing about other seeds, and ``Fit.unit`` tells which it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.signal import lfilter
from scipy.special import stdtrit

from cegppo_verl.stats.curves import Curve, EntropyLaw, Sigmoid
from cegppo_verl.stats.interval import Interval

FitUnit = Literal["seed", "point"]


@dataclass(frozen=True)
class Fit:
    """A fitted curve.

    Attributes:
        values: parameter → point with interval.
        curve: (T,) fitted values at the places given (their mean over seeds).
        residual_sd: of the mean curve around the fit, with T − (number of parameters) degrees of freedom.
        unit: what was redrawn for the intervals.
    """

    values: Mapping[str, Interval]
    curve: np.ndarray
    residual_sd: float
    unit: FitUnit


def fit_sigmoid(
    compute: np.ndarray,
    reward: np.ndarray,
    rng: np.random.Generator,
    *,
    start: float | None = None,
    ceiling: float = 1.0,
    unit: FitUnit | None = None,
    n_resamples: int = 300,
    level: float = 0.95,
) -> Fit:
    """R(C) = R0 + (A − R0) / (1 + (C_mid / C)^B) (ScaleRL, arXiv 2510.13786, Eq. 1).

    Args:
        compute: (T,), above 0: steps, tokens or GPU-hours, T ≥ 5. Their paper leaves the earliest part out.
        reward: (S, T) or (T,), finite; a row per seed.
        start: R0, the reward before training; default: the first point's mean over seeds. Taken as exact.
        ceiling: the largest A that makes sense.
        unit: default "seed" with two seeds or more, else "point".

    Returns:
        Fit with "A" (asymptote), "B" (efficiency), "C_mid" (compute at half the gain, unit of ``compute``).

    Raises:
        ValueError: shapes, too few points, compute not above 0, or no room between start and ceiling.
    """
    places, rewards = _points(compute, reward, 5)
    r0 = float(rewards[:, 0].mean()) if start is None else start
    if not (places > 0).all() or not r0 < ceiling:
        raise ValueError("compute must be above 0 and the start below the ceiling")
    return _fit(Sigmoid(r0, ceiling), np.log(places), rewards, rng, unit, n_resamples, level)


def fit_entropy(
    entropy: np.ndarray,
    reward: np.ndarray,
    rng: np.random.Generator,
    *,
    unit: FitUnit | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Fit:
    """R = −a·exp(H) + b, least squares in exp(H) (Cui et al. 2025, arXiv 2505.22617, abstract).

    Args:
        entropy: (S, T) or (T,), nats per token, all of one definition, T ≥ 4. Taken as exact: noise in it
            pulls a towards 0.
        reward: (S, T) or (T,), finite.
        unit: as in ``fit_sigmoid``.

    Returns:
        Fit with "a", "b" and "ceiling" = b − a, the reward that the law predicts at zero entropy.
    """
    places, rewards = _points(entropy, reward, 4)
    return _fit(EntropyLaw(), np.exp(places), rewards, rng, unit, n_resamples, level)


def _points(places: np.ndarray, rewards: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    rewards = np.atleast_2d(np.asarray(rewards, np.float64))
    places = np.asarray(places, np.float64)
    if rewards.ndim != 2 or places.shape not in (rewards.shape, rewards.shape[1:]):
        raise ValueError(f"one place per point is needed, got {places.shape} for {rewards.shape}")
    if rewards.shape[1] < least or not (np.isfinite(rewards).all() and np.isfinite(places).all()):
        raise ValueError(f"at least {least} finite points are needed, got {rewards.shape[1]}")
    return np.broadcast_to(places, rewards.shape), rewards


def _fit(curve: Curve, x, y, rng, unit, n_resamples, level) -> Fit:  # type: ignore[no-untyped-def]
    unit = unit or ("seed" if len(y) > 1 else "point")
    if unit == "seed" and len(y) < 2:
        raise ValueError("one seed: only its points can be redrawn")
    mean_x, mean_y = x.mean(0, keepdims=True), y.mean(0, keepdims=True)
    found = curve.solve(mean_x, mean_y)
    fitted = curve.predict(mean_x, found)
    drawn = (
        _seeds(x, y, rng, n_resamples)
        if unit == "seed"
        else _sieve(mean_x, mean_y, fitted, rng, n_resamples, found.shape[1])
    )
    replicates = curve.solve(*drawn)
    count = y.shape[0] if unit == "seed" else y.shape[1]
    df = count - 1 if unit == "seed" else count - found.shape[1]
    scale = float(np.sqrt(count / df) * stdtrit(df, (1 + level) / 2))
    residual = float(np.sqrt(((mean_y - fitted) ** 2).sum() / (y.shape[1] - found.shape[1])))
    return Fit(_intervals(curve, found, replicates, scale, level, y.shape), fitted[0], residual, unit)


def _intervals(curve: Curve, found, replicates, scale, level, shape) -> dict[str, Interval]:  # type: ignore[no-untyped-def]
    """Point ± scale · standard error on the scale on which the parameter is unbounded, then back."""
    values = {}
    for name, (read, back) in curve.parameters().items():
        point, half = read(found)[0], scale * float(read(replicates).std())
        low, middle, high = (float(back(np.array(v))) for v in (point - half, point, point + half))
        values[name] = Interval(middle, low, high, level, shape[0], 0, "bootstrap t")
    return values


def _seeds(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean curves (count, T) of redrawn seeds."""
    index = rng.integers(len(y), size=(count, len(y)))
    return x[index].mean(1), y[index].mean(1)


def _sieve(x, y, fitted, rng, count, parameters):  # type: ignore[no-untyped-def]
    """Fitted curve plus noise of the residuals' own size and first autocorrelation, (count, T)."""
    residual = (y - fitted)[0] - (y - fitted).mean()
    rho = autocorrelation(residual, parameters)
    drawn = residual[rng.integers(len(residual), size=(count, len(residual)))]
    noise = lfilter([np.sqrt(1 - rho**2)], [1.0, -rho], np.concatenate([drawn[:, ::-1], drawn], axis=1))
    return np.broadcast_to(x, drawn.shape), fitted + noise[:, len(residual) :]


def autocorrelation(residual: np.ndarray, parameters: int) -> float:
    """First autocorrelation of (T,) residuals, 0 to 0.9, corrected for the parameters/T that fitting took."""
    total = float(residual @ residual)
    raw = float(residual[1:] @ residual[:-1]) / total if total > 0 else 0.0
    count = len(residual)
    return float(np.clip(raw + (parameters + 3 * max(raw, 0.0)) / count, 0.0, 0.9)) if total > 0 else 0.0

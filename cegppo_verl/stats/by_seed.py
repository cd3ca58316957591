"""One number per training seed: its mean with an interval, a test, and what could have been seen.

For what is known once per run (entropy over a window, a slope over arms, a difference of two arms that
share a seed) the seed is the only unit of resampling. With three to twenty of them a bootstrap's percentiles
are too narrow; Student's t on n − 1 degrees of freedom is not, as far as the numbers are roughly normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from cegppo_verl.stats.interval import Interval, no_interval

POWER = 0.8


@dataclass(frozen=True)
class BySeed:
    """A mean over seeds.

    Attributes:
        interval: of the mean over new seeds, by Student's t; without ends for a single seed.
        p_value: two-sided, of a mean of 0; NaN for a single seed.
        detectable: the mean that a test at this level finds with a probability of .8, given the spread seen
            and this number of seeds; NaN for a single seed. Same unit as the numbers.
    """

    interval: Interval
    p_value: float
    detectable: float


def mean_over_seeds(values: np.ndarray, *, level: float = 0.95) -> BySeed:
    """Mean of one number per seed, shape (S,), finite.

    Raises:
        ValueError: no number, or one that is not finite.
    """
    values = np.asarray(values, float).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a finite number per seed is needed, got {values}")
    mean, df = float(values.mean()), len(values) - 1
    if df == 0:
        return BySeed(no_interval(mean, level, 1, 0, "one seed"), float("nan"), float("nan"))
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    edge = float(stdtrit(df, 0.5 + level / 2))
    interval = Interval(
        mean, mean - edge * error, mean + edge * error, level, len(values), 0, "t", "new seeds"
    )
    return BySeed(interval, _p(mean, error, df), (edge + float(stdtrit(df, POWER))) * error)


def _p(mean: float, error: float, df: int) -> float:
    if error == 0:
        return float(mean == 0)
    return float(2 * stdtr(df, -abs(mean) / error))


def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope of every seed's numbers over the arms' x.

    Args:
        x: (A,), not all the same.
        y: (S, A).

    Returns:
        (S,), unit of y per unit of x.
    """
    centred = np.asarray(x, float) - np.mean(x)
    if not centred.any():
        raise ValueError("a slope needs two different values of x")
    return np.asarray(y, float) @ centred / float(centred @ centred)

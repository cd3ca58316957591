"""Whether two independent groups of runs agree, which is not the same as failing to tell them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from cegppo_verl.stats.interval import Interval, no_interval

SIZE = 0.05  # of the test; its interval has level 1 − 2·SIZE


@dataclass(frozen=True)
class Agreement:
    """Two one-sided tests of |difference| < margin (Schuirmann 1987), by Welch's t.

    Attributes:
        interval: of mean(a) − mean(b) at level 0.9: the groups agree at size .05 iff it lies within ±margin.
        p_value: the larger of the two one-sided ones; NaN where a group has a single run.
    """

    interval: Interval
    margin: float
    p_value: float

    @property
    def agree(self) -> bool:
        """Whether a difference as large as the margin is excluded."""
        return bool(self.p_value < SIZE)

    @property
    def differ(self) -> bool:
        """Whether the whole interval lies beyond the margin."""
        return bool(self.interval.low > self.margin or self.interval.high < -self.margin)


def agreement(a: np.ndarray, b: np.ndarray, margin: float) -> Agreement:
    """Compare two groups of runs, one finite number per run.

    Args:
        a, b: (runs,), unpaired. margin: > 0, same unit: the largest difference that does not matter.

    Raises:
        ValueError: an empty group, a number that is not finite, or a margin that is not positive.
    """
    a, b = np.asarray(a, float).ravel(), np.asarray(b, float).ravel()
    if not (len(a) and len(b) and np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("finite numbers of at least one run per group are needed")
    if not margin > 0:
        raise ValueError(f"the margin must be above 0, got {margin}")
    difference, runs = float(a.mean() - b.mean()), min(len(a), len(b))
    if runs < 2:
        return Agreement(no_interval(difference, 1 - 2 * SIZE, runs, 0, "one run"), margin, float("nan"))
    error, df = _welch(a, b)
    edge = float(stdtrit(df, 1 - SIZE)) * error
    found = Interval(difference, difference - edge, difference + edge, 1 - 2 * SIZE, runs, 0, "t", "new runs")
    return Agreement(found, margin, _tost(difference, error, df, margin))


def _tost(difference: float, error: float, df: float, margin: float) -> float:
    if error == 0:
        return float(abs(difference) >= margin)
    return float(stdtr(df, (abs(difference) - margin) / error))


def _welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Standard error of the difference of means, and its degrees of freedom (Welch 1947)."""
    parts = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
    total = sum(parts)
    if total == 0:
        return 0.0, float(len(a) + len(b) - 2)
    below = sum(part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True))
    return float(np.sqrt(total)), total**2 / below

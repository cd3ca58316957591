"""The one result type: a point estimate and its interval, and what that interval speaks about."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import beta

NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """A point estimate with its interval; low and high are NaN where no interval can be had.

    Attributes:
        point, low, high: same unit as the statistic.
        level: nominal coverage, e.g. 0.95.
        seeds, problems: how many the estimate rests on.
        method: "bootstrap", "t" (stats/crossed.py), "bootstrap t" (stats/fits.py), "clopper-pearson" (all
            verdicts alike) or "none" (a single unit).
        scope: what else the interval is about, e.g. "new seeds and problems"; "these runs, new problems" is
            conditional on the trained models. Empty where the caller knows (``unit``).
    """

    point: float
    low: float
    high: float
    level: float
    seeds: int
    problems: int
    method: str = "bootstrap"
    scope: str = ""

    @property
    def excludes_zero(self) -> bool:
        """True when the whole interval lies on one side of zero; False without an interval."""
        return bool(self.low > 0 or self.high < 0)

    def overlaps(self, other: Interval) -> bool:
        """Whether two intervals share a value; False when either is missing."""
        return bool(self.low <= other.high and other.low <= self.high)


def no_interval(point: float, level: float, seeds: int, problems: int, scope: str = "") -> Interval:
    """The point alone, with NaN for both ends."""
    return Interval(point, NAN, NAN, level, seeds, problems, "none", scope)


def all_alike(right: bool, level: float, seeds: int, problems: int, scope: str = "") -> Interval:
    """All right or all wrong: a spread of 0 would claim certainty; Clopper–Pearson over problems does not.

    Clopper & Pearson 1934, with the problem as the trial: samples and seeds of one problem are no new ones.
    """
    edge = float(beta.ppf((1 - level) / 2, problems, 1))
    low, high, point = (edge, 1.0, 1.0) if right else (0.0, 1 - edge, 0.0)
    return Interval(point, low, high, level, seeds, problems, "clopper-pearson", scope)

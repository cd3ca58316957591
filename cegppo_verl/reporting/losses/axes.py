"""The axes that every drawing of w(δ) shares: log δ across, w on an inverse hyperbolic sine upwards.

asinh(w / 0.1) is linear near 0, so that "no gradient" has a place, and logarithmic above; weights may be
negative (CFPO), which a logarithm cannot show.
"""

from __future__ import annotations

import numpy as np

from cegppo_verl.reporting.losses.curves import LIMIT, Curve

LINEAR = 0.1
TOP = 25.0
BOTTOM = -3.0
RATIO_TICKS = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
WEIGHT_TICKS = (-3.0, -1.0, -0.3, 0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


def height(w: np.ndarray | float) -> np.ndarray:
    """Where w lies on the vertical axis, before scaling."""
    return np.arcsinh(np.asarray(w, dtype=float) / LINEAR)


def bottom(curves: list[Curve]) -> float:
    """The lower end of the axis: a little below 0, or lower where weights are negative."""
    least = min(np.nanmin(values) for c in curves for values in (c.positive, c.negative))
    return float(max(BOTTOM, min(-0.03, 1.3 * least)))


def across(log_ratio: np.ndarray | float) -> np.ndarray:
    """Log δ as 0 … 1."""
    return (np.asarray(log_ratio, dtype=float) + LIMIT) / (2 * LIMIT)


def upwards(w: np.ndarray | float, low: float) -> np.ndarray:
    """W as 0 … 1; what is off the axis lies on its end."""
    ends = height(low), height(TOP)
    return np.clip((height(w) - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)

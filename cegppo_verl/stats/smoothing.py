"""Smoothing for the eye; no number in a table is read off a smoothed line."""

from __future__ import annotations

import numpy as np

from cegppo_verl.stats.estimators import nanmean


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean of (T,); the window shrinks symmetrically at the ends, so that they do not lean
    inwards.

    NaN are left out of each mean. ``window`` is odd (an even one is raised by one) and at least 1.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    values = np.asarray(values, np.float64)
    half = window // 2
    reach = np.minimum(np.minimum(np.arange(len(values)), np.arange(len(values))[::-1]), half)
    offsets = np.arange(-half, half + 1)
    inside = np.abs(offsets) <= reach[:, None]
    index = np.clip(np.arange(len(values))[:, None] + offsets, 0, max(len(values) - 1, 0))
    return nanmean(np.where(inside, values[index], np.nan)) if len(values) else values

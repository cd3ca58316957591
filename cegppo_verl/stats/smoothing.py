"""Smoothing for the eye; no number in a table is read off a smoothed line."""

from __future__ import annotations

import numpy as np


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean of (T,) finite values; the first and last half window lie on a line fitted there.

    So a falling curve is not bent inwards at its ends, and a single last value does not stick out (the same
    as a Savitzky–Golay filter of order 1). An even ``window`` is raised by one; with fewer values than the
    window, the largest odd window that fits is used.

    Raises:
        ValueError: ``window`` is below 1.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    values = np.asarray(values, np.float64)
    half = min(window // 2, (len(values) - 1) // 2)
    if half < 1:
        return values.copy()
    width = 2 * half + 1
    middle = np.convolve(values, np.full(width, 1 / width), "valid")
    first, last = _line(values[:width])[:half], _line(values[-width:])[-half:]
    return np.concatenate([first, middle, last])


def _line(values: np.ndarray) -> np.ndarray:
    """The least-squares line through equally spaced values, at those places."""
    place = np.arange(len(values)) - (len(values) - 1) / 2
    return values.mean() + place * (place @ values) / (place @ place)

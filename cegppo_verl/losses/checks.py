"""Range checks shared by the parameter classes. Plain ``ValueError``: this room knows only torch."""

from __future__ import annotations

import math


def in_range(name: str, value: object, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Refuse anything but a finite real number in [low, high), or in (low, high) with ``open_low``.

    Raises:
        ValueError: naming the parameter, the range and what was given.
    """
    bounds = f"{'(' if open_low else '['}{low:g}, {'∞' if high == math.inf else f'{high:g}'})"
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not (low < value or (value == low and not open_low)) or not value < high:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number in {bounds}, got {value!r}")


def dual_clip(value: object) -> None:
    """Check that the dual clip is None (off) or in (1, ∞)."""
    if value is not None:
        in_range("dual_clip", value, 1.0, open_low=True)

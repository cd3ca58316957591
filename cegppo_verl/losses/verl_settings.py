"""Settings of verl's actor that several of its losses read, relative to ``actor_rollout_ref.actor``."""

from __future__ import annotations


def clip_ratio(low: float, high: float) -> dict[str, object]:
    """The three settings that a bound may come from: all three are set, so that none keeps another value."""
    return {"clip_ratio": low, "clip_ratio_low": low, "clip_ratio_high": high}

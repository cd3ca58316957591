"""Where a token lies: the sign of its advantage × below, inside or above the clip interval.

Defined once here; the losses, the diagnostics and the reports all use these names.
With δ = π_θ/π_old and the interval [1 − ε_low, 1 + ε_high]:

    neg_below   Â < 0 and δ < 1 − ε_low    PPO clips (gradient 0); CE-GPPO keeps β1 (1 − ε_low)
    pos_above   Â > 0 and δ > 1 + ε_high   PPO clips (gradient 0); CE-GPPO keeps β2 (1 + ε_high)
    neg_above   Â < 0 and δ > 1 + ε_high   pessimistic branch: never clipped (dual clip aside)
    pos_below   Â > 0 and δ < 1 − ε_low    pessimistic branch: never clipped
    inside      1 − ε_low ≤ δ ≤ 1 + ε_high, whatever Â

Inequalities are strict, as in PPO and in CE-GPPO Eq. 8: a token exactly on a bound is inside.
A token with Â = 0 outside the interval is in no region, and a NaN is in none either. (The paper also
speaks of high- and low-probability tokens; those classes are defined by π, not by δ, and are not these.)

Every function takes detached tensors of equal shape and returns an *indicator* of that shape and of
the ratio's dtype: 1 in the region, 0 elsewhere. Indicators rather than booleans because torch's
boolean comparisons and masked fills are 6–8 times slower on a CPU than the same arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Bound: TypeAlias = "float | Tensor"  # a number, or one per token (DCPO)

NAMES = ("neg_below", "pos_above", "neg_above", "pos_below", "inside")


def _indicator(comparison: str, left: Tensor, right: Bound) -> Tensor:
    import torch  # here: whoever only reads a loss's parameters needs no torch

    return getattr(torch, comparison)(left, right, out=torch.empty_like(left))


def below(ratio: Tensor, epsilon_low: Bound) -> Tensor:
    """Indicator of δ < 1 − ε_low."""
    return _indicator("lt", ratio, 1.0 - epsilon_low)


def above(ratio: Tensor, epsilon_high: Bound) -> Tensor:
    """Indicator of δ > 1 + ε_high."""
    return _indicator("gt", ratio, 1.0 + epsilon_high)


def negative(advantages: Tensor) -> Tensor:
    """Indicator of Â < 0."""
    return _indicator("lt", advantages, 0.0)


def positive(advantages: Tensor) -> Tensor:
    """Indicator of Â > 0."""
    return _indicator("gt", advantages, 0.0)


def neg_below(ratio: Tensor, advantages: Tensor, epsilon_low: Bound) -> Tensor:
    """Indicator of Â < 0 and δ < 1 − ε_low."""
    return below(ratio, epsilon_low).mul_(negative(advantages))


def pos_above(ratio: Tensor, advantages: Tensor, epsilon_high: Bound) -> Tensor:
    """Indicator of Â > 0 and δ > 1 + ε_high."""
    return above(ratio, epsilon_high).mul_(positive(advantages))


def neg_above(ratio: Tensor, advantages: Tensor, epsilon_high: Bound) -> Tensor:
    """Indicator of Â < 0 and δ > 1 + ε_high."""
    return above(ratio, epsilon_high).mul_(negative(advantages))


def pos_below(ratio: Tensor, advantages: Tensor, epsilon_low: Bound) -> Tensor:
    """Indicator of Â > 0 and δ < 1 − ε_low."""
    return below(ratio, epsilon_low).mul_(positive(advantages))


def dual_clipped(ratio: Tensor, advantages: Tensor, dual_clip: Bound) -> Tensor:
    """Indicator of Â < 0 and δ > c, the tokens that dual clip drops (arXiv 1912.09729, Eq. 5)."""
    return _indicator("gt", ratio, dual_clip).mul_(negative(advantages))


def inside(ratio: Tensor, epsilon_low: Bound, epsilon_high: Bound) -> Tensor:
    """Indicator of 1 − ε_low ≤ δ ≤ 1 + ε_high."""
    lower = _indicator("ge", ratio, 1.0 - epsilon_low)
    return lower.mul_(_indicator("le", ratio, 1.0 + epsilon_high))

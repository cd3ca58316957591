"""PPO-clip as a gradient weight: the reference for tests, and the weight behind verl's ``vanilla``.

    ℓ = min(δ·Â, clip(δ, 1 − ε_low, 1 + ε_high)·Â)                 (arXiv 1707.06347, Eq. 7)
    with dual clip, Â < 0:  ℓ = max(that, c·Â)                     (arXiv 1912.09729, Eq. 5)

    w = 0   in neg_below and pos_above, and with dual clip where Â < 0 and δ > c
    w = δ   elsewhere

Here the value of ℓ is not w·Â where w is 0, so ``value`` states it. Training with GRPO and DAPO runs
verl's own ``vanilla``; nothing here replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cegppo_verl.losses import checks, regions


@dataclass(frozen=True, kw_only=True)
class Params:
    """Clip bounds ε_low and ε_high in [0, ∞); dual_clip None (off) or c > 1 (verl: 3).

    ε_low ≥ 1 leaves the lower side open. verl allows it, so a wrapped ``vanilla`` must too.

    Raises:
        ValueError: a parameter outside its range, naming it.
    """

    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    dual_clip: float | None = None

    def __post_init__(self) -> None:
        checks.in_range("epsilon_low", self.epsilon_low, 0.0)
        checks.in_range("epsilon_high", self.epsilon_high, 0.0)
        checks.dual_clip(self.dual_clip)


def weight(ratio: Tensor, advantages: Tensor, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of PPO-clip; shapes as in ``cegppo.weight``."""
    w = ratio * (1.0 - regions.neg_below(ratio, advantages, params.epsilon_low))
    w.mul_(1.0 - regions.pos_above(ratio, advantages, params.epsilon_high))
    if params.dual_clip is not None:
        w.mul_(1.0 - regions.dual_clipped(ratio, advantages, params.dual_clip))
    return w


def value(ratio: Tensor, advantages: Tensor, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised) of PPO-clip, per token; shapes as in ``weight``."""
    clipped = ratio.clamp(1.0 - params.epsilon_low, 1.0 + params.epsilon_high)
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    if params.dual_clip is None:
        return surrogate
    floor = torch.maximum(surrogate, params.dual_clip * advantages)
    return torch.where(advantages < 0, floor, surrogate)

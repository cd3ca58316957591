"""CE-GPPO: PPO-clip that keeps a bounded gradient where PPO drops it (arXiv 2509.20712, Eq. 8).

    J(θ) = 1/Σ_i |y_i| · Σ_i Σ_t ℓ_it,

           ⎧ β1 (1 − ε_low)  / sg(δ) · δ · Â    δ < 1 − ε_low  and Â < 0
    ℓ   =  ⎨ β2 (1 + ε_high) / sg(δ) · δ · Â    δ > 1 + ε_high and Â > 0
           ⎩ δ · Â                              otherwise

    δ       π_θ / π_old of the token                 sg      stop-gradient
    Â       its advantage (group-normalised)         β1, β2  weight of the preserved gradient
    ε_low, ε_high   clip bounds

As ∇δ = δ ∇log π, the gradient of ℓ is w·Â·∇log π with

    w = β1 (1 − ε_low)   in neg_below      (β1 = 0: PPO's clipped token)
    w = β2 (1 + ε_high)  in pos_above      (β2 = 0: PPO's clipped token)
    w = δ                everywhere else, the two pessimistic branches included

and the value of ℓ is w·Â too, in all three cases. β1 = β2 = 0 is PPO-clip; β1 = β2 = 1 is GPPO
(arXiv 2508.07629). The preserved weights never touch δ, so no log-ratio, however extreme, can
overflow or silence them; β (1 − ε)/sg(δ)·δ computed literally gives NaN in fp32 below log δ ≈ −104.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cegppo_verl.losses import checks, regions


@dataclass(frozen=True, kw_only=True)
class Params:
    """Hyper-parameters of CE-GPPO, checked on construction.

    Args:
        beta1: weight kept in neg_below, in [0, ∞). No default: the paper's best value differs by scale
            (.5 at 1.5B, .75 at 7B) and the released code has four. The paper explores [0, 1]; above 1
            a clipped token pulls harder than one at the bound, which is allowed and left to the user.
        beta2: weight kept in pos_above, in [0, ∞). No default. The paper's choice is 1.
        epsilon_low: lower clip bound, in [0, 1). Paper: .2.
        epsilon_high: upper clip bound, in [0, ∞). Paper: .2.
        dual_clip: None (off, as in the paper), or c > 1: tokens with Â < 0 and δ > c get zero gradient,
            as in the released code (c = 10). Their value is w·Â = 0; that code logs the constant c·Â.

    Raises:
        ValueError: a parameter outside its range, naming it.
    """

    beta1: float
    beta2: float
    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    dual_clip: float | None = None

    def __post_init__(self) -> None:
        checks.in_range("beta1", self.beta1, 0.0)
        checks.in_range("beta2", self.beta2, 0.0)
        checks.in_range("epsilon_low", self.epsilon_low, 0.0, 1.0)
        checks.in_range("epsilon_high", self.epsilon_high, 0.0)
        checks.dual_clip(self.dual_clip)


def weight(ratio: Tensor, advantages: Tensor, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of CE-GPPO, the derivative of Eq. 8 (see the module's text).

    Args:
        ratio: δ, finite, detached; any shape. advantages: Â, same shape.

    Returns:
        w, same shape and dtype as ``ratio``.
    """
    kept_low = ratio.new_full((), params.beta1 * (1.0 - params.epsilon_low))
    kept_high = ratio.new_full((), params.beta2 * (1.0 + params.epsilon_high))
    w = torch.lerp(ratio, kept_low, regions.neg_below(ratio, advantages, params.epsilon_low))
    w.lerp_(kept_high, regions.pos_above(ratio, advantages, params.epsilon_high))
    if params.dual_clip is not None:
        w.mul_(1.0 - regions.dual_clipped(ratio, advantages, params.dual_clip))
    return w

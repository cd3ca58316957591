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
from typing import TYPE_CHECKING

from cegppo_verl.losses import parameters, regions
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SOURCE = "arXiv 2509.20712 §5"
# Ours: the paper stays within [0, 1], the lint warns above 1; more than 10 is a percentage.
BETA_MAX = 10.0
WHY_BETA = "β scales the gradient kept outside the interval: 0 is PPO-clip, 1 is GPPO"


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of CE-GPPO.

    β1 and β2 have no default: the paper's best β1 differs by scale (.5 at 1.5B, .75 at 7B) and the released
    code has four. The dual clip is off, as in the paper; the released scripts use c = 10, and there such a
    token's value is the constant c·Â, here w·Â = 0 (the gradient is 0 in both).
    """

    beta1: float = param(
        "β1",
        "share of the edge gradient kept for tokens clipped below (Â<0)",
        high=BETA_MAX,
        example=0.5,
        source="none: .5 at 1.5B, .75 at 7B (arXiv 2509.20712 §5)",
        why=lambda _: WHY_BETA,
    )
    beta2: float = param(
        "β2",
        "share of the edge gradient kept for tokens clipped above (Â>0)",
        high=BETA_MAX,
        example=1.0,
        source="none: 1 in the paper's main runs (arXiv 2509.20712 §5)",
        why=lambda _: WHY_BETA,
    )
    epsilon_low: float = parameters.epsilon_low(0.2, SOURCE)
    epsilon_high: float = parameters.epsilon_high(0.2, SOURCE)
    dual_clip: float | None = parameters.dual_clip(None, "off in Eq. 8; the released scripts use 10")


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of CE-GPPO, the derivative of Eq. 8 (see the module's text).

    Args:
        tokens: rows of the batch; δ is ``tokens.ratio``, Â ``tokens.advantages``.

    Returns:
        w, shape and dtype of ``tokens.ratio``.
    """
    ratio, advantages = tokens.ratio, tokens.advantages
    kept_low = ratio.new_full((), params.beta1 * (1.0 - params.epsilon_low))
    kept_high = ratio.new_full((), params.beta2 * (1.0 + params.epsilon_high))
    w = ratio.lerp(kept_low, regions.neg_below(ratio, advantages, params.epsilon_low))
    w.lerp_(kept_high, regions.pos_above(ratio, advantages, params.epsilon_high))
    if params.dual_clip is not None:
        w.mul_(1.0 - regions.dual_clipped(ratio, advantages, params.dual_clip))
    return w


LOSS = Loss(
    params=Params,
    weight=weight,
    title="CE-GPPO",
    summary="PPO-clip that keeps β1 and β2 of the edge gradient of tokens clipped below and above",
    paper="arXiv 2509.20712",
    equation="Eq. 8",
    positive="δ ≤ 1+ε_high: δ; else β2(1+ε_high)",
    negative="δ ≥ 1−ε_low: δ; else β1(1−ε_low)",
    departures="Dual clip (released scripts: c = 10) is an option, off by default as in the paper.",
)

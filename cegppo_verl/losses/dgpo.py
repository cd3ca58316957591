"""DGPO: outside the interval the gradient follows a power of the ratio, not a constant (arXiv 2603.14389).

           ⎧ sg(δ)^n / (1 − ε_low)^n · δ · Â              δ < 1 − ε_low  and Â < 0
    ℓ   =  ⎨ ((1 + ε_high) / sg(δ))^(1/m) · δ · Â         δ > 1 + ε_high and Â > 0
           ⎩ δ · Â                                        otherwise

    w = δ^(n+1) / (1 − ε_low)^n                 in neg_below     (n = 0: δ, no clipping)
    w = (1 + ε_high)^(1/m) · δ^(1 − 1/m)        in pos_above     (m = 1: 1 + ε_high, GPPO's upper side)
    w = δ                                       elsewhere

continuous at both edges; the value of ℓ is w·Â. On the gradient of π itself (∇log π = ∇π/π) the lower side's
weight vanishes as π → 0, where CE-GPPO's constant makes it diverge: that is the paper's point.

Read in: the authors' code, VenomRose-Juri/DGPO-RL, verl/trainer/ppo/core_algos.py, its README and
examples/dgpo_trainer (n = 1, m = 2; n = 2 for 1.5B); of the paper only the abstract.
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

CODE = "the authors' README (DGPO-RL)"


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of DGPO."""

    epsilon_low: float = parameters.epsilon_low(0.2, "the authors' code: verl's default")
    epsilon_high: float = parameters.epsilon_high(0.2, "the authors' code: verl's default")
    n: float = param(
        "n",
        "decay below the interval (Â<0): the weight falls as δ^(n+1)",
        default=1.0,
        high=10.0,
        source=f"{CODE}; 2 for 1.5B",
    )
    m: float = param(
        "m",
        "growth above the interval (Â>0): the weight rises as δ^(1−1/m)",
        default=2.0,
        low=1.0,
        high=100.0,
        source=CODE,
        why=lambda _: "below 1 the weight would fall as δ rises; m = 1 keeps it at 1 + ε_high",
    )


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of DGPO, shape and dtype of ``tokens.ratio``."""
    ratio, advantages = tokens.ratio, tokens.advantages
    low, high = 1.0 - params.epsilon_low, 1.0 + params.epsilon_high
    # Clamping makes both factors 1 inside the interval and keeps the powers within (0, 1]: no overflow.
    decayed = ratio.clamp(max=low).div_(low).pow_(params.n).mul_(ratio)
    w = ratio.lerp(decayed, regions.negative(advantages))
    slowed = ratio.clamp(min=high).div_(high).pow_(-1.0 / params.m).mul_(ratio)
    return w.lerp_(slowed, regions.positive(advantages))


LOSS = Loss(
    params=Params,
    weight=weight,
    title="DGPO",
    summary="PPO-clip that keeps clipped gradients, decaying polynomially below and growing by a root above",
    paper="arXiv 2603.14389",
    equation="the DGPO objective (read in the authors' core_algos.py)",
    positive="δ ≤ 1+ε_high: δ; else (1+ε_high)^(1/m)·δ^(1−1/m)",
    negative="δ ≥ 1−ε_low: δ; else δ^(n+1)/(1−ε_low)^n",
    departures=(
        "None known. The paper recommends n = 2 at 1.5B. In the authors' code the dual clip is inert in "
        "this mode, and so there is none here."
    ),
)

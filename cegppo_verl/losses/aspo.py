"""ASPO: tokens with Â > 0 are weighted by 1/δ instead of δ (arXiv 2510.06062).

    ℓ = m · r̂ · Â,   r̂ = π_old·π_θ / sg(π_θ²)   Â > 0   (value and gradient weight 1/δ)
                      r̂ = π_θ / π_old            Â < 0
    m = 0 in neg_below and pos_above (as in PPO-clip), else 1
    soft dual clip: where 1/δ > c⁺, ℓ = c⁺·Â·log π_θ: the weight is capped, the gradient stays

    w = min(1/δ, c⁺)   Â > 0, δ ≤ 1 + ε_high          w = δ            Â < 0, δ ≥ 1 − ε_low
    w = 0              Â > 0, δ > 1 + ε_high          w = 0            Â < 0, δ < 1 − ε_low
    with c⁻ given: w = min(δ, c⁻) for Â < 0, δ ≥ 1 − ε_low

Read in: the authors' code, wizard-III/Archer2.0, verl/trainer/ppo/core_algos.py (compute_policy_loss_archer)
and verl/workers/actor/dp_actor.py, which is where c⁺ = 3 comes from; of the paper only the abstract, and
others' accounts of its equations. The code caps the weight of Â < 0 softly too (c⁻ = 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters, regions
from cegppo_verl.losses.loss import Interval, Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SCRIPTS = "the authors' scripts and code (Archer2.0)"


def _cap(symbol: str, doc: str, default: float | None, **about: Any) -> Any:
    return param(symbol, doc, default=default, low=1.0, open_low=True, nullable=True, **about)


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of ASPO; both caps are soft: they bound the weight and keep the gradient."""

    epsilon_low: float = parameters.epsilon_low(0.2, SCRIPTS)
    epsilon_high: float = parameters.epsilon_high(0.2, SCRIPTS)
    positive_cap: float | None = _cap(
        "c⁺", "soft dual clip: largest weight 1/δ of a token with Â>0", 3.0, source=SCRIPTS, unit="1/δ"
    )
    negative_cap: float | None = _cap(
        "c⁻",
        "soft dual clip: largest weight δ of a token with Â<0",
        None,
        source="off: not found in the paper; the authors' code uses 3",
        unit="token ratio δ",
    )


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of ASPO, shape and dtype of ``tokens.ratio``."""
    ratio, advantages = tokens.ratio, tokens.advantages
    w = ratio.clamp(max=params.negative_cap) if params.negative_cap is not None else ratio.clone()
    flipped = ratio.reciprocal()
    if params.positive_cap is not None:
        flipped.clamp_(max=params.positive_cap)
    w.lerp_(flipped, regions.positive(advantages))
    w.mul_(1.0 - regions.neg_below(ratio, advantages, params.epsilon_low))
    return w.mul_(1.0 - regions.pos_above(ratio, advantages, params.epsilon_high))


def interval(params: Params) -> Interval:
    """The mask's interval; dual-clip hits are tokens at the cap c⁻."""
    return Interval(params.epsilon_low, params.epsilon_high, params.negative_cap)


LOSS = Loss(
    params=Params,
    weight=weight,
    title="ASPO",
    summary="PPO-clip's mask, but tokens with Â>0 are weighted by the inverse ratio, softly capped",
    paper="arXiv 2510.06062",
    equation="§3.2 (read in the authors' compute_policy_loss_archer)",
    positive="δ ≤ 1+ε_high: min(1/δ, c⁺); else 0",
    negative="δ ≥ 1−ε_low: δ (with c⁻: min(δ, c⁻)); else 0",
    departures=(
        "c⁺ = 3 and both ε come from the authors' code, not the paper. Their code also caps Â<0 softly at "
        "3: an option here (negative_cap), off by default. Their code takes ε = .4 instead of .2 for the "
        "fifth of each response's tokens with the highest entropy, and trains with a KL term (.001): "
        "neither is done here. The logged value of capped tokens is w·Â; theirs is w·Â·log π (same "
        "gradient)."
    ),
    interval=interval,
)

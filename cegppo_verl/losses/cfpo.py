"""CFPO: a quadratic penalty on the ratio in place of clipping (arXiv 2601.22801).

    ℓ = δ·Â − |Â|/(2ε) · (δ − 1)²

    w = δ·(1 − (δ − 1)/ε)   Â > 0      0 at δ = 1 + ε, negative (pulling back) beyond it
    w = δ·(1 + (δ − 1)/ε)   Â < 0      0 at δ = 1 − ε, negative (pulling back) below it (for ε < 1)

ℓ is differentiated through δ and is not w·Â, so ``value`` states it. For δ ≫ 1 the weight grows as
δ²/ε in size, back towards 1 for either sign of Â; nothing bounds it but the clamp of the log-ratio.

Read in: the paper's abstract, the authors' README (asparius/cfpo; its code was not at hand), facts kept by
this project, and three public accounts and reimplementations that state the same formula, one of which calls
it the paper's Eq. 7. ε has no default: the paper says "no additional hyperparameters", i.e. ε is the clip
range of whatever it replaces, and its value was not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.losses import parameters, regions
from cegppo_verl.losses.loss import Interval, Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of CFPO."""

    epsilon: float = param(
        "ε",
        "distance from 1 at which the penalty cancels the gradient",
        low=parameters.EPSILON_LOWEST,
        high=5.0,
        example=0.2,
        source="none: the paper's value was not found; it is the clip range that CFPO replaces",
        unit=parameters.DISTANCE,
        why=parameters.why_epsilon,
    )


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of CFPO, shape and dtype of ``tokens.ratio``; it can be negative."""
    ratio = tokens.ratio
    overshoot = (ratio - 1.0).mul_(1.0 / params.epsilon)
    # −1 for Â > 0, +1 for Â < 0; Â = 0 is irrelevant, as w is multiplied by Â.
    overshoot.mul_(regions.negative(tokens.advantages).mul_(2.0).sub_(1.0))
    return overshoot.add_(1.0).mul_(ratio)


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised) of CFPO, per token."""
    ratio, advantages = tokens.ratio, tokens.advantages
    return ratio * advantages - advantages.abs() * (ratio - 1.0).square() / (2.0 * params.epsilon)


def interval(params: Params) -> Interval:
    """1 ± ε, where the gradient of a useful step changes sign; nothing is clipped there."""
    return Interval(params.epsilon, params.epsilon, reference=True)


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="CFPO",
    summary="a quadratic penalty (δ−1)² in place of clipping: beyond 1 ± ε the gradient pulls back",
    paper="arXiv 2601.22801",
    equation="the CFPO objective (Eq. 7 by a public reimplementation; the paper's text was not at hand)",
    positive="δ(1−(δ−1)/ε)",
    negative="δ(1+(δ−1)/ε)",
    departures="ε is required: the paper's value was not found. Nothing else is known to differ.",
    interval=interval,
)

"""CISPO: REINFORCE with a clipped, detached importance weight. verl's own ``cispo`` runs; this describes it.

    ℓ = sg( clip(δ, 1 − ε_low, 1 + ε_high) )·Â·log π                  (arXiv 2506.13585, Eq. 4 and 5)
    w = clip(δ, 1 − ε_low, 1 + ε_high)                                for either sign of Â

No token loses its gradient. The paper sets no lower bound ("a large value" of
ε_low) and does not print ε_high.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.losses import parameters, verl_settings
from cegppo_verl.losses.loss import Interval, Loss, open_side
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

OPEN = 10.0  # verl's example for CISPO; as 1 − 10 < 0 < δ, it bounds nothing


def _why_low(value: float) -> str:
    if value >= 1:
        return "a lower bound 1 - ε_low ≤ 0 is none: write null for the open lower side (verl's example: 10)"
    return parameters.why_epsilon(value)


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of CISPO. ε_high has no default: the paper tunes it and does not print it.

    CE-GPPO's comparison (arXiv 2509.20712, Table 2) uses .2 on both sides; verl's example .2 and an open
    lower side.
    """

    epsilon_low: float | None = param(
        "ε_low",
        "lower distance of the weight's interval from 1; null: no lower bound",
        default=None,
        source="arXiv 2506.13585 §3.1: no lower bound",
        low=parameters.EPSILON_LOWEST,
        high=0.999,
        unit=parameters.DISTANCE,
        nullable=True,
        why=_why_low,
    )
    epsilon_high: float = param(
        "ε_high",
        "upper distance of the weight's interval from 1",
        example=0.2,
        source="none: not printed in arXiv 2506.13585; .2 in verl's example and in arXiv 2509.20712",
        low=parameters.EPSILON_LOWEST,
        high=10.0,  # weights up to 5 are in use (other people's CISPO runs); two digits are a percentage
        unit=parameters.DISTANCE,
        why=parameters.why_epsilon,
    )


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ) of CISPO, the same for both signs of Â."""
    return tokens.ratio.clamp(1.0 - (params.epsilon_low or OPEN), 1.0 + params.epsilon_high)


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised), per token."""
    return weight(tokens, params) * tokens.advantages * tokens.log_prob


def interval(params: Params) -> Interval:
    """The interval of the weight; its lower side may be open."""
    return Interval(open_side(params.epsilon_low), params.epsilon_high)


def _settings(params: Params) -> Mapping[str, object]:
    return verl_settings.clip_ratio(params.epsilon_low or OPEN, params.epsilon_high)


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="CISPO",
    summary="REINFORCE with a clipped, detached token ratio: no token loses its gradient (verl's cispo)",
    paper="arXiv 2506.13585",
    equation="Eq. 4 and 5",
    positive="clip(δ, 1−ε_low, 1+ε_high)",
    negative="clip(δ, 1−ε_low, 1+ε_high)",
    departures=(
        "verl's own setting, clip_ratio_low = .2, is a lower bound that the paper does not have; here the "
        "lower side is open unless ε_low is given. verl's pg_clipfrac counts both sides of the interval for "
        "both signs of Â, so it cannot be compared with PPO's."
    ),
    interval=interval,
    runs="cispo",
    verl=_settings,
)

"""DISPO: CISPO with four clip bounds, two per sign of the advantage (arXiv 2602.00983).

    ℓ = sg(r^d)·Â·log π_θ,   r^d = clip(δ, 1 − ε⁺_low, 1 + ε⁺_high)   Â > 0  (correct responses)
                             r^d = clip(δ, 1 − ε⁻_low, 1 + ε⁻_high)   Â < 0  (incorrect responses)

so w = r^d: no token loses its gradient, and nothing is differentiated through δ.

Read in: the paper's abstract, facts kept by this project, and others' accounts of its objective, which print
it as a mean over all tokens (verl's token-mean). Neither the paper's text beyond its introduction nor code of
the authors was found. Hence the four bounds have no default. One public account
states .2, 10, 1, 100 (in the order of the fields below) as the paper's choice; unchecked, so it serves as the
example in error messages only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters, regions
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SOURCE = "none: not found; an unchecked account of the paper says {:g}"


def _why(value: float) -> str:
    return parameters.why_epsilon(value) if value > 1 else "ε is a distance from 1 and not negative"


def _low(symbol: str, doc: str, example: float) -> Any:
    # 1 opens the side: the ratio is never below 0.
    return _bound(symbol, doc, example, high=1.0)


def _bound(symbol: str, doc: str, example: float, **about: Any) -> Any:
    return param(
        symbol,
        doc,
        example=example,
        source=SOURCE.format(example),
        unit=parameters.DISTANCE,
        why=_why,
        **about,
    )


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of DISPO, all required: distances of the four bounds from 1."""

    epsilon_positive_low: float = _low("ε⁺_low", "Â>0: smallest weight is 1 − ε⁺_low", 0.2)
    epsilon_positive_high: float = _bound("ε⁺_high", "Â>0: largest weight is 1 + ε⁺_high", 10.0)
    epsilon_negative_low: float = _low("ε⁻_low", "Â<0: smallest weight is 1 − ε⁻_low", 1.0)
    epsilon_negative_high: float = _bound("ε⁻_high", "Â<0: largest weight is 1 + ε⁻_high", 100.0)

    def check(self) -> None:
        """Each sign's lower bound must lie below its upper one; a bound is at 1 or visibly off it.

        Raises:
            ValueError: otherwise.
        """
        lowest = parameters.EPSILON_LOWEST
        for name in parameters.specs(Params):
            value = getattr(self, name)
            if 0 < value < lowest:
                why = parameters.why_epsilon(value)
                raise ValueError(f"{name} {value:g} must be 0 or at least {lowest:g}: {why}")
        for sign in ("positive", "negative"):
            low, high = f"epsilon_{sign}_low", f"epsilon_{sign}_high"
            bounds = 1.0 - getattr(self, low), 1.0 + getattr(self, high)
            if not bounds[0] < bounds[1]:
                raise ValueError(
                    f"{low} and {high} leave no interval: {bounds[0]:g} is not below {bounds[1]:g}"
                )


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of DISPO, shape and dtype of ``tokens.ratio``."""
    ratio = tokens.ratio
    correct = ratio.clamp(1.0 - params.epsilon_positive_low, 1.0 + params.epsilon_positive_high)
    wrong = ratio.clamp(1.0 - params.epsilon_negative_low, 1.0 + params.epsilon_negative_high)
    return correct.lerp_(wrong, regions.negative(tokens.advantages))


LOSS = Loss(
    params=Params,
    weight=weight,
    title="DISPO",
    summary="REINFORCE weighted by the clipped ratio, with other bounds for correct than for wrong responses",
    paper="arXiv 2602.00983",
    equation="the DISPO objective (equation number not checked: the paper's text was not at hand)",
    positive="clip(δ, 1−ε⁺_low, 1+ε⁺_high)",
    negative="clip(δ, 1−ε⁻_low, 1+ε⁻_high)",
    departures=(
        "The four bounds are required: neither the paper's values nor the authors' code were found. The "
        "logged value is w·Â, the paper's w·Â·log π (same gradient). Regions are counted by the reference "
        "interval ±.2."
    ),
)

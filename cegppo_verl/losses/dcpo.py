"""DCPO: PPO-clip whose bounds widen for tokens that π_old finds improbable (dynamic-adaptive clipping).

Bounding |(δ − 1)·p|, p = δ·q, instead of |δ − 1| gives, with q = π_old of the token,

    ½ + ½√max(1 − 4ε_low/q, 0)  ≤  δ  ≤  min(½ + ½√(1 + 4ε_high/q), c)

and with these bounds in place of 1 − ε_low and 1 + ε_high the surrogate is PPO's with dual clip c:

    w = 0   for Â < 0 below the lower bound, for Â > 0 above the upper one, and for Â < 0 and δ > c
    w = δ   elsewhere

The lower bound is never below ½. Read in: the authors' README, §4.1 (lime-RL/DCPO; bounds and the table
with ε_low = .16, ε_high = .2 and their edges at q = .9 and .01) and their core_algos.get_clip_low_high
(the cap). The paper's smooth advantage standardisation and its only-token-mean reduction are no part of
the policy loss and are not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cegppo_verl.losses import parameters, ppo_clip
from cegppo_verl.losses.loss import REFERENCE, Interval, Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens


def _epsilon(symbol: str, side: str, default: float) -> Any:
    return param(
        symbol,
        f"{side} bound of the change of probability weighted by the ratio, (δ − 1)·δ·π_old",
        default=default,
        source="authors' README, §4.1: .16 and .2; the released script has .2 and .28",
        low=parameters.EPSILON_LOWEST,
        high=5.0,
        unit="probability: |(δ − 1)·δ·π_old|, not a distance of δ from 1",
        why=lambda _: "DCPO's ε bounds (δ−1)·δ·π_old; its README uses .16 and .2",
    )


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of DCPO's clipping."""

    epsilon_low: float = _epsilon("ε_low", "lower", 0.16)
    epsilon_high: float = _epsilon("ε_high", "upper", 0.2)
    cap: float | None = param(
        "c",
        "largest ratio that has a gradient, whatever the sign of Â",
        default=10.0,
        source="authors' code and run_dcpo.sh, clip_ratio_c",
        low=1.0,
        open_low=True,
        unit="token ratio δ",
        nullable=True,
    )


class _Clip(NamedTuple):
    """The bounds as PPO-clip's formula takes them: distances from 1, here one per token."""

    epsilon_low: Tensor
    epsilon_high: Tensor
    dual_clip: float | None


def _clip(tokens: Tokens, params: Params) -> _Clip:
    spread = 4.0 / tokens.old_prob
    low = (1.0 - params.epsilon_low * spread).clamp_(min=0.0).sqrt_().mul_(-0.5).add_(0.5)
    high = (1.0 + params.epsilon_high * spread).sqrt_().mul_(0.5).sub_(0.5)
    if params.cap is not None:
        high.clamp_(max=params.cap - 1.0)
    return _Clip(low, high, params.cap)


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â, π_old) of DCPO."""
    return ppo_clip.weight(tokens, _clip(tokens, params))


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised) of DCPO, per token."""
    return ppo_clip.value(tokens, _clip(tokens, params))


def interval(params: Params) -> Interval:
    """The reference interval: DCPO's own differs from token to token."""
    return REFERENCE


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="DCPO (dynamic-adaptive clipping)",
    summary="PPO-clip with per-token bounds that are wide where π_old is small; only DCPO's clipping",
    paper="arXiv 2509.02333",
    equation="dynamic-adaptive bounds (authors' README §4.1; the paper's numbering was not seen)",
    positive="δ ≤ min(½+½√(1+4ε_high/π_old), c): δ; else 0",
    negative="½+½√max(1−4ε_low/π_old, 0) ≤ δ ≤ c: δ; else 0",
    departures=(
        "Only the clipping: no smooth advantage standardisation, no only-token-mean. Default ε are the "
        "README's .16/.2; the released script has .2/.28. The code raises a c below 10 to 10 for the upper "
        "bound; here c is used as given."
    ),
    interval=interval,
)

"""GSPO: PPO-clip on the length-normalised ratio of the whole response. verl's own ``gspo`` runs.

    s = exp( (1/|y|) Σ_t log δ_t )                                     (arXiv 2507.18071, Eq. 7)
    ℓ = min( s·Â, clip(s, 1 − ε_low, 1 + ε_high)·Â )                   (Eq. 5)

verl writes it per token, with the value of s and the gradient of that token alone (the paper's GSPO-token):
log s_t = sg(log s) + log π_t − sg(log π_t). Averaged within a response and then over responses
(seq-mean-token-mean), value and gradient are those of Eq. 5. So for every token of a response

    w = s   if it is not clipped
    w = 0   if Â > 0 and s > 1 + ε_high, or Â < 0 and s < 1 − ε_low

and, in verl alone, w = 0 where log s > 10: it clamps log s there, and differentiates through the clamp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters, regions, verl_settings
from cegppo_verl.losses.loss import Interval, Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SOURCE = "arXiv 2507.18071: 3e-4 and 4e-4 in Eq. 5"
DISTANCE = "distance from 1 of the length-normalised sequence ratio s"
# Ours: s averages over a response, so it stays within a few per cent of 1 even for short ones.
EPSILON_HIGHEST = 0.05
MAX_LOG_S = 10.0  # verl 0.9.1, compute_policy_loss_gspo


def why_epsilon(value: float) -> str:
    """What an ε outside the range most likely is."""
    if value > EPSILON_HIGHEST:
        return "that is a token-level ε; s is averaged over the response, so GSPO's are 3e-4 and 4e-4"
    return "GSPO's are 3e-4 and 4e-4"


def _epsilon(symbol: str, side: str, default: float) -> Any:
    return param(
        symbol,
        f"{side} distance of the clip interval from 1",
        default=default,
        source=SOURCE,
        low=0.0,
        open_low=True,
        high=EPSILON_HIGHEST,
        unit=DISTANCE,
        why=why_epsilon,
    )


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of GSPO: about a thousandth of a token-level loss's."""

    epsilon_low: float = _epsilon("ε_low", "lower", 3e-4)
    epsilon_high: float = _epsilon("ε_high", "upper", 4e-4)


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w of GSPO: the same for all tokens of a response whose Â have one sign."""
    s = sequence_ratio(tokens)
    w = s * (1.0 - regions.neg_below(s, tokens.advantages, params.epsilon_low))
    w.mul_(1.0 - regions.pos_above(s, tokens.advantages, params.epsilon_high))
    return w.mul_(tokens.mean_log_ratio <= MAX_LOG_S)


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised), the same at every token of a response whose Â are equal."""
    s = sequence_ratio(tokens)
    clipped = s.clamp(1.0 - params.epsilon_low, 1.0 + params.epsilon_high)
    return (s * tokens.advantages).minimum(clipped * tokens.advantages)


def sequence_ratio(tokens: Tokens) -> Tensor:
    """(rows, response_length) s of the response that each token belongs to."""
    return tokens.mean_log_ratio.clamp(max=MAX_LOG_S).exp().repeat(1, tokens.ratio.shape[-1])


def interval(params: Params) -> Interval:
    """The clip interval, which is for s."""
    return Interval(params.epsilon_low, params.epsilon_high, level="sequence")


def _settings(params: Params) -> Mapping[str, object]:
    return verl_settings.clip_ratio(params.epsilon_low, params.epsilon_high)


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="GSPO",
    summary="PPO-clip on the length-normalised ratio s of the whole response (verl's gspo)",
    paper="arXiv 2507.18071",
    equation="Eq. 5 and 7 (per token: GSPO-token)",
    positive="s ≤ 1+ε_high: s; else 0",
    negative="s ≥ 1−ε_low: s; else 0",
    departures=(
        "verl clamps log s at 10 and drops the gradient above. It reduces as loss_agg_mode says; only "
        "seq-mean-token-mean, which is set here, is the paper's."
    ),
    interval=interval,
    runs="gspo",
    verl=_settings,
    loss_agg_mode="seq-mean-token-mean",
)

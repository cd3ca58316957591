"""GMPO: the geometric mean of clipped token ratios. verl's own ``geo_mean`` runs; this describes it.

    G = exp( (1/|y|) Σ_t λ_t ),    λ = min(log δ, ε_high)  if Â > 0
                                   λ = max(log δ, −ε_low)  if Â < 0      (arXiv 2507.20673, its objective)
    ℓ = G·Â

Every token has the value G·Â of its response, reduced by seq-mean-token-mean. As ∂G/∂log π_t = G/|y| where t
is not clipped,

    w = G·1[Â > 0 and log δ ≤ ε_high, or Â < 0 and log δ ≥ −ε_low]

if all tokens of a response have the same Â, as they do with group-relative advantages. Where they differ verl
takes their mean A for ℓ = G·A and the token's own sign for λ, so w above is multiplied by A/Â.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters, verl_settings
from cegppo_verl.losses.loss import Interval, Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

NATS = "token log-ratio log δ in nats"


def why_log(value: float) -> str:
    """What a bound outside the range most likely is."""
    if value > LOG_HIGHEST:
        return "the bound is for log δ: .4 means that δ is clipped at e^.4 = 1.49"
    return (
        "the bound is for each token's log δ, .4 in the paper; 1e-4 belongs to sequence-level ratios (GSPO)"
    )


LOG_HIGHEST = 5.0  # ours: e^5 = 148 clips nothing


def _bound(symbol: str, side: str) -> Any:
    return param(
        symbol,
        f"{side} bound of log δ",
        default=0.4,
        source="arXiv 2507.20673 §4: (e^−.4, e^.4)",
        low=0.01,
        high=LOG_HIGHEST,
        unit=NATS,
        why=why_log,
    )


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of GMPO: bounds in log space, so not ε of a ratio."""

    log_low: float = _bound("ε_low", "lower (minus sign implied)")
    log_high: float = _bound("ε_high", "upper")


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w of GMPO, with the factor A/Â for token-level advantages (see the module's text)."""
    clipped = _clipped(tokens, params)
    signed = tokens.advantages != 0
    mean = clipped.mul(signed).sum(-1, keepdim=True) / tokens.lengths
    share = _mean_advantage(tokens) / tokens.advantages.where(signed, 1.0)
    return (mean.exp() * share).mul_(clipped == tokens.log_ratio).mul_(signed)


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised), the same number at every token of a response."""
    clipped = _clipped(tokens, params).mul_(tokens.advantages != 0)
    mean = clipped.sum(-1, keepdim=True) / tokens.lengths
    return (mean.exp() * _mean_advantage(tokens)).repeat(1, tokens.ratio.shape[-1])


def _clipped(tokens: Tokens, params: Params) -> Tensor:
    capped = tokens.log_ratio.clamp(max=params.log_high)
    return capped.where(tokens.advantages > 0, tokens.log_ratio.clamp(min=-params.log_low))


def _mean_advantage(tokens: Tokens) -> Tensor:
    return tokens.advantages.masked_fill(tokens.padding, 0.0).sum(-1, keepdim=True) / tokens.lengths


def interval(params: Params) -> Interval:
    """The interval that the bounds of log δ are for δ."""
    return Interval(1.0 - math.exp(-params.log_low), math.exp(params.log_high) - 1.0)


def _settings(params: Params) -> Mapping[str, object]:
    return verl_settings.clip_ratio(params.log_low, params.log_high)


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="GMPO",
    summary="the geometric mean G of a response's token ratios, clipped in log space (verl's geo_mean)",
    paper="arXiv 2507.20673",
    equation="GMPO objective",
    positive="log δ ≤ ε_high: G; else 0",
    negative="log δ ≥ −ε_low: G; else 0",
    departures=(
        "verl ignores loss_agg_mode (it is always the mean over responses, the paper's way) and the size of "
        "the mini-batch: it divides by the responses of each micro-batch, so the gradient grows with the "
        "number of micro-batches; responses without tokens count in the mean. Weights of rollout correction "
        "are averaged over a response, geometrically. It does not clamp log δ."
    ),
    interval=interval,
    reduction="micro-batch",
    runs="geo_mean",
    verl=_settings,
    loss_agg_mode="seq-mean-token-mean",
)

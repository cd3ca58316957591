"""FIPO: PPO-clip with each token's advantage scaled by how far the policy has moved on the tokens after it.

    F_t = Σ_{k≥t} γ^{k−t}·M_k·log δ_k,    γ = 2^{−1/h},    M_k = 1 where δ_k ≤ c, else 0    (FutureKL)

    f_t = clip(exp F_t, f_low, f_high),    Ã_t = sg(f_t)·Â_t

    ℓ = PPO's surrogate (dual clip c) with Ã for Â, so    w = f·w_PPO:

    w = 0     for Â < 0 and δ < 1 − ε_low, for Â > 0 and δ > 1 + ε_high, and for Â < 0 and δ > c
    w = f·δ   elsewhere

Where δ > s, f is reset: to 1 ("one") or, for Â < 0 only, to at most 1 ("cap", the authors' code).

Read in: README, recipe/fipo and core_algos.compute_policy_loss_future_kl of the authors' code as first
published (its public copy vukrosic/FIPO, commit 1493daf). The text of arXiv 2603.19835 could not be had;
[.8, 1.2], γ = 2^{−1/32} and "factor 1 where δ is large" are from this project's fact sheet and agree with
the code except where ``departures`` says so. An independent implementation, ms-swift's, agrees with the code
on M (any sign of Â) and on the rule "cap"; it has s = 4, and [1, 1.2] for f unless told otherwise.

The sum runs backwards over up to 16,384 tokens. It is formed by two small matrix products, within chunks
of about √T tokens and over the chunks, in which every power of γ is at most 1: nothing can overflow, |F|
≤ 20/(1 − γ).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters, ppo_clip, regions
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

FACTOR = "factor on the advantage Â"


def _edge(symbol: str, side: str, default: float, **about: Any) -> Any:
    return param(symbol, f"{side} bound of the factor f", default=default, unit=FACTOR, **about)


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of FIPO. The 32B script is factor_low = 1, factor_high = 1.2, safety_rule = cap."""

    half_life: float = param(
        "h",
        "distance in tokens at which a later token's weight has halved, γ = 2^(−1/h)",
        default=32.0,
        source="authors' 32B script, decay_rate",
        low=1.0,
        unit="tokens",
    )
    factor_low: float = _edge(
        "f_low", "lower", 0.8, low=0.01, high=1.0, source="this project's fact sheet; the 32B script has 1"
    )
    factor_high: float = _edge(
        "f_high", "upper", 1.2, low=1.0, high=100.0, source="authors' 32B script, future_kl_clip_ratio"
    )
    safety: float = param(
        "s",
        "ratio above which f is reset",
        default=10.0,
        source="authors' 32B script, safety_thresh (the code's own default is 4)",
        low=1.0,
        unit="token ratio δ",
    )
    safety_rule: str = param(
        "rule",
        "how f is reset where δ > s: to 1, or to at most 1 where Â<0",
        default="one",
        source="this project's fact sheet; the authors' code is cap",
        choices=("one", "cap"),
    )
    epsilon_low: float = parameters.epsilon_low(0.2, "authors' 32B script")
    epsilon_high: float = parameters.epsilon_high(0.28, "authors' 32B script")
    dual_clip: float = parameters.dual_clip(
        10.0, "authors' 32B script, clip_ratio_c; also M's bound", nullable=False
    )


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w of FIPO; needs complete rows."""
    return ppo_clip.weight(tokens, params).mul_(factor(tokens, params))


def factor(tokens: Tokens, params: Params) -> Tensor:
    """The factor f on the advantage, (rows, response_length), within [f_low, f_high]."""
    counted = tokens.log_ratio * (1.0 - regions.above(tokens.ratio, params.dual_clip - 1.0))
    future = discounted_future(counted, 2.0 ** (-1.0 / params.half_life))
    # clip(exp F) = exp(clip F), which cannot overflow
    f = future.clamp_(math.log(params.factor_low), math.log(params.factor_high)).exp_()
    large = regions.above(tokens.ratio, params.safety - 1.0)
    if params.safety_rule == "one":
        return f.lerp_(f.new_ones(()), large)
    large.mul_(regions.negative(tokens.advantages))
    return f.lerp_(f.clamp(max=1.0), large)


def discounted_future(terms: Tensor, gamma: float) -> Tensor:
    """Σ_{k≥t} γ^{k−t}·terms_k along each row, in O(T·√T).

    Args:
        terms: (rows, T). gamma: the discount per token, 0 < γ < 1.

    Returns:
        (rows, T), of the dtype of ``terms``.
    """
    rows, length = terms.shape
    width = max(1, math.isqrt(length))
    chunks = -(-length // width)
    chunked = terms.new_zeros(rows, chunks * width)
    chunked[:, :length] = terms
    within = chunked.view(rows, chunks, width) @ _powers(terms, gamma, width)
    # Each chunk needs what comes after it, seen from the first token of the next one.
    starts = within[..., 0]
    after = (starts @ _powers(terms, gamma**width, chunks)).roll(-1, dims=-1)
    after[:, -1] = 0.0
    decay = gamma ** (width - _positions(terms, width))
    within.addcmul_(after.unsqueeze(-1), decay)
    return within.reshape(rows, -1)[:, :length].contiguous()


def _positions(like: Tensor, count: int) -> Tensor:
    return like.new_ones(count).cumsum(0).sub_(1.0)


def _powers(like: Tensor, gamma: float, count: int) -> Tensor:
    """(count, count) matrix with γ^(k − t) in row k, column t where k ≥ t, and 0 above the diagonal."""
    place = _positions(like, count)
    distance = place.unsqueeze(-1) - place
    return (gamma ** distance.clamp(min=0.0)).tril_()


LOSS = Loss(
    params=Params,
    weight=weight,
    title="FIPO",
    summary="PPO-clip whose advantages are scaled by the discounted log-ratios of the tokens that follow",
    paper="arXiv 2603.19835",
    equation="FutureKL_t and f_t (authors' README; the paper's numbering was not seen)",
    positive="δ ≤ 1+ε_high: f·δ; else 0",
    negative="1−ε_low ≤ δ ≤ c: f·δ; else 0;  f = clip(exp Σ γ^{k−t} M_k log δ_k, f_low, f_high)",
    departures=(
        "Where δ > s the default sets f = 1 for either sign (fact sheet); the authors' code only lowers "
        "f to at most 1 where Â < 0 (safety_rule = cap). With s ≥ c the two agree. Their 32B script has "
        "factor_low = 1. Their code drops a whole response with more than one dual-clipped token; this "
        "does not. The value logged is w·Â."
    ),
)

"""VESPO: a smooth weight on the ratio of the whole sequence, without length normalisation.

    W = Π_t δ_t = π_θ(y)/π_old(y)         (not the geometric mean)

    φ(W) = W^k·e^{λ(1 − W)},    k, λ = k_pos, λ_pos if Â > 0 else k_neg, λ_neg

    ℓ = sg(φ(W))·Â·log π_θ    per token, so    w = φ(W), the same for every token of a response

φ(1) = 1, the maximum lies at W = k/λ. Read in: the paper's abstract (sequence ratio, no length
normalisation) and the authors' code (FloyedShen/VESPO, recipe/vespo/code/core_algos.py and the scripts in
recipe/vespo/run), whose defaults and scripts have k, λ = 2, 3 for Â > 0 and 3, 2 for Â < 0. Like the code
this clamps Σ log δ_t, each log δ_t already clamped, to ±20, and forms φ in logarithms. (The code's
docstring names other numbers, which it does not use.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SOURCE = "authors' code (recipe/vespo): k, λ = 2, 3 for Â>0 and 3, 2 for Â<0"
MAX_LOG_RATIO = 20.0
"""Σ log δ is clamped to ± this, as in the authors' code; φ is below 1e-16 there for its k and λ."""


def _shape(symbol: str, doc: str, default: float, high: float) -> Any:
    return param(symbol, doc, default=default, source=SOURCE, high=high)


# Ours: W^k at W = e^20 must stay in fp32's range when λ = 0; k and λ of 2 and 3 are published.
K_HIGHEST, LAMBDA_HIGHEST = 4.0, 20.0


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of VESPO. k = λ = 0 is REINFORCE without any ratio."""

    k_pos: float = _shape("k_pos", "power of W for Â>0", 2.0, K_HIGHEST)
    lambda_pos: float = _shape("λ_pos", "exponential decay in W for Â>0", 3.0, LAMBDA_HIGHEST)
    k_neg: float = _shape("k_neg", "power of W for Â<0", 3.0, K_HIGHEST)
    lambda_neg: float = _shape("λ_neg", "exponential decay in W for Â<0", 2.0, LAMBDA_HIGHEST)


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w = φ(W) of VESPO, by the sign of each token's Â."""
    log_w = tokens.sequence_log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    positive = _phi(log_w, params.k_pos, params.lambda_pos)
    negative = _phi(log_w, params.k_neg, params.lambda_neg)
    return negative.where(tokens.advantages < 0, positive)


def _phi(log_w: Tensor, k: float, decay: float) -> Tensor:
    return (k * log_w - decay * log_w.expm1()).exp_()


LOSS = Loss(
    params=Params,
    weight=weight,
    title="VESPO",
    summary="one smooth weight W^k·e^{λ(1−W)} per response, W the ratio of the whole sequence",
    paper="arXiv 2602.10693",
    equation="φ(W) (from the authors' code; the paper's numbering was not seen)",
    positive="W^k_pos·e^{λ_pos(1−W)}, W = Π δ over the response",
    negative="W^k_neg·e^{λ_neg(1−W)}",
    departures=(
        "The sign is each token's own; the code takes the sign of a response's first token, the same where Â "
        "is one number per response. The code folds rollout-correction weights into W; here they multiply w."
    ),
)

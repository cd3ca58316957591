"""SAPO: a soft gate on the token ratio instead of a clip. verl's own ``sapo`` runs; this describes it.

    ℓ = (4/τ)·σ(τ(δ − 1))·Â,    τ = τ_pos if Â > 0 else τ_neg         (arXiv 2511.20347, Eq. 5 and 6)

With p = σ(τ(δ − 1)) the derivative is

    w = 4 p (1 − p)·δ

which is δ near δ = 1 and decays exponentially above it, faster for the larger τ. σ is the logistic function.
Not to be mixed up with the gates of arXiv 2602.19345, another method called SAPO.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

WHY = "τ is the steepness of the gate: about 1, larger is closer to a clip, and 0 would divide by zero"
# Ours: at τ = 100 the gate is a step of width .01; more is a percentage or a mistake.
TAU_HIGHEST = 100.0


def _tau(symbol: str, sign: str, default: float) -> Any:
    return param(
        symbol,
        f"steepness of the gate for tokens with {sign}",
        default=default,
        source="arXiv 2511.20347: 1.0 and 1.05",
        open_low=True,
        high=TAU_HIGHEST,
        unit="per unit of token ratio δ",
        why=lambda _: WHY,
    )


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of SAPO. The paper wants τ_neg > τ_pos; the other way round is a legal ablation."""

    tau_pos: float = _tau("τ_pos", "Â>0", 1.0)
    tau_neg: float = _tau("τ_neg", "Â≤0", 1.05)


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of SAPO."""
    gate = _gate(tokens, _steepness(tokens, params))
    return (4.0 * tokens.ratio).mul_(gate).mul_(1.0 - gate)


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised), per token."""
    tau = _steepness(tokens, params)
    return 4.0 / tau * _gate(tokens, tau) * tokens.advantages


def _steepness(tokens: Tokens, params: Params) -> Tensor:
    tau = tokens.ratio.new_full((), params.tau_pos)
    return tau.where(tokens.advantages > 0, tokens.ratio.new_full((), params.tau_neg))


def _gate(tokens: Tokens, tau: Tensor) -> Tensor:
    return (tau * (tokens.ratio - 1.0)).sigmoid_()


def _settings(params: Params) -> Mapping[str, object]:
    return {"tau_pos": params.tau_pos, "tau_neg": params.tau_neg}


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="SAPO",
    summary="a sigmoid gate on the token ratio instead of a clip, steeper for Â<0 (verl's sapo)",
    paper="arXiv 2511.20347",
    equation="Eq. 5 and 6",
    positive="4p(1−p)·δ, p = σ(τ_pos(δ−1))",
    negative="4p(1−p)·δ, p = σ(τ_neg(δ−1))",
    departures=(
        "None in the equation. verl always reduces by seq-mean-token-mean (the paper's way) and ignores "
        "loss_agg_mode; it clamps log δ at ±20 and has no gradient beyond."
    ),
    runs="sapo",
    verl=_settings,
    loss_agg_mode="seq-mean-token-mean",
)

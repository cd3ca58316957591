"""Smooth gates in the place of SAPO's sigmoid: Gaussian, Cauchy, Student-t and softsign.

    ℓ = f(δ)·Â,    f(1) = 1,    x = τ(δ − 1),    τ = τ_pos if Â > 0 else τ_neg

    gate       f(δ) − 1                         f'(δ)                         w = f'(δ)·δ
    Gaussian   √(π/2)/τ · erf(x/√2)             exp(−x²/2)                    exponential tail
    Cauchy     arctan(x)/τ                      1/(1 + x²)                    w ~ 1/δ
    softsign   x/(1 + |x|)/τ                    1/(1 + |x|)²                  w ~ 1/δ
    Student    no simple one for every ν        (1 + x²/ν)^(−(ν+1)/2)         w ~ 1/δ^ν

Every f' is 1 at δ = 1, its maximum, and falls to 0 on both sides: the conditions that the paper puts on a
gate. Student's is Cauchy's at ν = 1 and the Gaussian one as ν → ∞.

Read in: abstracts and two summaries of arXiv 2602.19345, which name the gates error function, arctangent
and softsign and those conditions. The text itself could not be had. The Gaussian's and the Cauchy's f'
are as in this project's fact sheet, the only source for how τ enters; it also names a Student gate
without a formula. So τ and ν have no defaults, and the constant in f, which moves the logged value but no
gradient, is ours (PPO's at δ = 1). Not to be mixed up with ``sapo``, the sigmoid gate of arXiv
2511.20347, which these replace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

WHY = "τ is the steepness of the gate: about 1, larger is closer to a clip, and 0 would be no gate"
# Ours: at τ = 100 the gate is a step of width .01; more is a percentage or a mistake.
TAU_HIGHEST = 100.0


def _tau(symbol: str, sign: str, example: float) -> Any:
    return param(
        symbol,
        f"steepness of the gate for tokens with {sign}",
        example=example,
        source="none found for these gates; 1.0 and 1.05 are the sigmoid's (arXiv 2511.20347)",
        open_low=True,
        high=TAU_HIGHEST,
        unit="per unit of token ratio δ",
        why=lambda _: WHY,
    )


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of the Gaussian, Cauchy and softsign gates."""

    tau_pos: float = _tau("τ_pos", "Â>0", 1.0)
    tau_neg: float = _tau("τ_neg", "Â≤0", 1.05)


@dataclass(frozen=True, kw_only=True)
class StudentParams(Params):
    """Hyper-parameters of the Student gate."""

    nu: float = param(
        "ν",
        "degrees of freedom: how heavy the gate's tail is, 1 is Cauchy's",
        example=2.0,
        source="none found",
        open_low=True,
        high=1e6,  # ours: the Gaussian gate to seven digits
    )


def gaussian(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of the Gaussian gate."""
    return _scaled(tokens, params).square_().mul_(-0.5).exp_().mul_(tokens.ratio)


def gaussian_value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised) of the Gaussian gate, per token."""
    rise = _scaled(tokens, params).mul_(math.sqrt(0.5)).erf_().mul_(math.sqrt(math.pi / 2))
    return _surrogate(rise, tokens, params)


def cauchy(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of the Cauchy gate."""
    return tokens.ratio / _scaled(tokens, params).square_().add_(1.0)


def cauchy_value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised) of the Cauchy gate, per token."""
    return _surrogate(_scaled(tokens, params).atan_(), tokens, params)


def softsign(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of the softsign gate."""
    return tokens.ratio / _scaled(tokens, params).abs_().add_(1.0).square_()


def student(tokens: Tokens, params: StudentParams) -> Tensor:
    """Gradient weight w(δ, Â) of the Student gate."""
    # In log space, since (1 + x²/ν) to a large power leaves fp32's range where its reciprocal is just 0.
    tail = _scaled(tokens, params).square_().div_(params.nu).log1p_().mul_(-(params.nu + 1.0) / 2.0)
    return tail.exp_().mul_(tokens.ratio)


def _tau_of(tokens: Tokens, params: Params) -> Tensor:
    tau = tokens.ratio.new_full((), params.tau_pos)
    return tau.where(tokens.advantages > 0, tokens.ratio.new_full((), params.tau_neg))


def _scaled(tokens: Tokens, params: Params) -> Tensor:
    return (tokens.ratio - 1.0).mul_(_tau_of(tokens, params))


def _surrogate(rise: Tensor, tokens: Tokens, params: Params) -> Tensor:
    return rise.div_(_tau_of(tokens, params)).add_(1.0).mul_(tokens.advantages)


PAPER = "arXiv 2602.19345"
DEPARTURES = (
    "From summaries of the paper and this project's fact sheet, not from its text: τ has no default and the "
    "constant of the surrogate is ours (no gradient depends on it)."
)

GAUSSIAN = Loss(
    params=Params,
    weight=gaussian,
    value=gaussian_value,
    title="SAPO, Gaussian gate",
    summary="SAPO with an error-function gate: the gradient falls off like a Gaussian around δ = 1",
    paper=PAPER,
    equation="the error-function gate (equation number not seen)",
    positive="δ·exp(−τ_pos²(δ−1)²/2)",
    negative="δ·exp(−τ_neg²(δ−1)²/2)",
    departures=DEPARTURES,
)

CAUCHY = Loss(
    params=Params,
    weight=cauchy,
    value=cauchy_value,
    title="SAPO, Cauchy gate",
    summary="SAPO with an arctangent gate: the gradient falls off like 1/δ",
    paper=PAPER,
    equation="the arctangent gate (equation number not seen)",
    positive="δ/(1 + τ_pos²(δ−1)²)",
    negative="δ/(1 + τ_neg²(δ−1)²)",
    departures=DEPARTURES,
)

STUDENT = Loss(
    params=StudentParams,
    weight=student,
    title="SAPO, Student gate",
    summary="SAPO with a gate whose gradient is a Student-t density: Cauchy's for ν = 1, Gaussian for ν → ∞",
    paper=PAPER,
    equation="none seen: the Student-t density, named by this project's fact sheet only",
    positive="δ·(1 + τ_pos²(δ−1)²/ν)^(−(ν+1)/2)",
    negative="δ·(1 + τ_neg²(δ−1)²/ν)^(−(ν+1)/2)",
    departures=(
        "Only this project's fact sheet names a Student gate; summaries of the paper name softsign as "
        "its third (sapo_softsign). Formula, τ and ν are ours. The value logged is w·Â."
    ),
)

SOFTSIGN = Loss(
    params=Params,
    weight=softsign,
    title="SAPO, softsign gate",
    summary="SAPO with a softsign gate: the gradient falls off like 1/δ, with a cusp at δ = 1",
    paper=PAPER,
    equation="the softsign gate (equation number not seen)",
    positive="δ/(1 + τ_pos|δ−1|)²",
    negative="δ/(1 + τ_neg|δ−1|)²",
    departures=f"{DEPARTURES} The value logged is w·Â: the gate's cusp at δ = 1 defeats a numerical check.",
)

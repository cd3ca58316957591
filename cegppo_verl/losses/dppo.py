"""DPPO: PPO whose trust region is a divergence, not the ratio. verl's ``dppo_tv`` and ``dppo_kl`` run.

    ℓ = M·δ·Â                                                         (arXiv 2602.04879, Eq. 12 and 14)
    M = 0 where D > D_high, δ > 1 and Â > 0, or D > D_low, δ < 1 and Â < 0; 1 elsewhere; detached
    D = |π − π_old|                                                   binary total variation
    D = π_old log(π_old/π) + (1 − π_old) log((1 − π_old)/(1 − π))     binary Kullback-Leibler divergence, nats

where the distribution is that of "this token" against "any other". So, with c the optional truncation (§5.4),

    w = M·min(δ, c)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters, verl_settings
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

TINY = 1e-8  # verl 0.9.1, compute_policy_loss_dppo_kl: keeps the logarithm finite where π or π_old is 1
SOURCE = "verl's example for DPPO, by the authors"


def why_tv(value: float) -> str:
    """What a TV threshold outside the range most likely is."""
    if value > 1:
        return (
            "|π - π_old| is at most 1: the threshold is a difference of probabilities, .15 in DPPO's scripts"
        )
    return "the threshold is a difference of probabilities, .15 in DPPO's scripts; it is not GSPO's ε"


def why_kl(value: float) -> str:
    """What a KL threshold outside the range most likely is."""
    if value > KL_HIGHEST:
        return "the threshold is a binary KL divergence in nats, .05 in DPPO's scripts, not a ratio or a TV"
    return (
        "the threshold is a binary KL divergence in nats, .05 in DPPO's scripts; 0 drops nearly every token"
    )


# Ours. Below the lowest nearly every token whose probability changed is dropped.
TV_LOWEST, KL_LOWEST, KL_HIGHEST = 1e-3, 1e-5, 1.0


def _threshold(side: str, default: float, unit: str, **limits: Any) -> Any:
    sign = "Â<0 that became less likely" if side == "low" else "Â>0 that became more likely"
    return param(
        f"D_{side}",
        f"divergence above which tokens with {sign} get no gradient",
        default=default,
        source=f"{SOURCE}: {default:g}",
        unit=unit,
        **limits,
    )


def _truncation() -> Any:
    return param(
        "c",
        "upper bound of the ratio in the weight; 1e4 bounds nothing in practice",
        default=1e4,
        source=f"{SOURCE}: 10000, i.e. no truncation",
        low=1.0,
        open_low=True,
        unit="token ratio δ",
        why=lambda _: "c is a ratio above 1: 20 is verl's, 1e4 switches the truncation off",
    )


TV_LIMITS = {"low": TV_LOWEST, "high": 1.0, "why": why_tv}
KL_LIMITS = {"low": KL_LOWEST, "high": KL_HIGHEST, "why": why_kl}


@dataclass(frozen=True, kw_only=True)
class TVParams(parameters.Parameters):
    """Hyper-parameters of DPPO-Binary-TV."""

    tv_low: float = _threshold("low", 0.15, "difference of probabilities", **TV_LIMITS)
    tv_high: float = _threshold("high", 0.15, "difference of probabilities", **TV_LIMITS)
    truncation: float = _truncation()


@dataclass(frozen=True, kw_only=True)
class KLParams(parameters.Parameters):
    """Hyper-parameters of DPPO-Binary-KL."""

    kl_low: float = _threshold("low", 0.05, "binary KL divergence in nats", **KL_LIMITS)
    kl_high: float = _threshold("high", 0.05, "binary KL divergence in nats", **KL_LIMITS)
    truncation: float = _truncation()


def tv_weight(tokens: Tokens, params: TVParams) -> Tensor:
    """Gradient weight w of DPPO-Binary-TV; it needs π_old besides δ and Â."""
    change = tokens.log_prob.exp() - tokens.old_prob
    kept = (change <= params.tv_high).where(tokens.advantages > 0, change >= -params.tv_low)
    return tokens.ratio.clamp(max=params.truncation).mul_(kept)


def kl_weight(tokens: Tokens, params: KLParams) -> Tensor:
    """Gradient weight w of DPPO-Binary-KL; it needs π_old besides δ and Â."""
    prob, old = tokens.log_prob.exp(), tokens.old_prob
    other = ((1.0 - old + TINY) / (1.0 - prob + TINY)).log()
    divergence = (1.0 - old) * other - old * tokens.log_ratio
    rising = (divergence <= params.kl_high) | (prob <= old)
    falling = (divergence <= params.kl_low) | (prob >= old)
    return tokens.ratio.clamp(max=params.truncation).mul_(rising.where(tokens.advantages > 0, falling))


def _tv_settings(params: TVParams) -> Mapping[str, object]:
    return verl_settings.clip_ratio(params.tv_low, params.tv_high) | {"clip_ratio_c": params.truncation}


def _kl_settings(params: KLParams) -> Mapping[str, object]:
    return verl_settings.clip_ratio(params.kl_low, params.kl_high) | {"clip_ratio_c": params.truncation}


DEPARTURES = (
    "π_old is what verl recomputes the log-probabilities with; the paper takes the rollout engine's (its "
    "§5.2, verl: algorithm.rollout_correction.bypass_mode). verl's setting clip_ratio_c = 3 would truncate "
    "the ratio at 3; here it is 1e4. verl differentiates sg(w)·Â·log π: the gradient is the paper's, but "
    "the logged pg_loss is not ℓ. The authors reduce by seq-mean-token-sum-norm and do not divide by the "
    "standard deviation (Dr.GRPO); here the grid's settings decide."
)


def _loss(
    params: type[parameters.Parameters],
    weight: Callable[[Tokens, Any], Tensor],
    verl: Callable[[Any], Mapping[str, object]],
    name: str,
    divergence: str,
) -> Loss:
    return Loss(
        params=params,
        weight=weight,
        title=f"DPPO-Binary-{name}",
        summary=f"PPO whose trust region is the {divergence} (verl's dppo_{name.lower()})",
        paper="arXiv 2602.04879",
        equation="Eq. 12 and 14",
        positive="D ≤ D_high or δ ≤ 1: min(δ, c); else 0",
        negative="D ≤ D_low or δ ≥ 1: min(δ, c); else 0",
        departures=DEPARTURES,
        runs=f"dppo_{name.lower()}",
        verl=verl,
    )


TV = _loss(TVParams, tv_weight, _tv_settings, "TV", "change |π − π_old| of a token's probability")
KL = _loss(KLParams, kl_weight, _kl_settings, "KL", "binary KL divergence of a token's probability")

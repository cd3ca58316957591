"""Clip-Cov: a random few of the tokens that lower entropy most get no gradient. verl's ``clip_cov`` runs.

    cov_t = (log π_t − mean log π)·(Â_t − mean Â)                     (arXiv 2505.22617)
    I     = a random share r of the tokens with ω_low < cov < ω_high
    ℓ     = 0 for t in I, else min(δ·Â, clip(δ, 1 − ε_low, 1 + ε_high)·Â)

w is PPO-clip's without dual clip, times 0 for t in I. I is drawn at random, so there is no weight here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cegppo_verl.losses import parameters, verl_settings
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

SCRIPT = "the authors' script for verl (clip_ratio_low = clip_ratio_high = 1)"
COVARIANCE = "nats × advantage"


def why_share(value: float) -> str:
    """What a share outside the range most likely is."""
    return "the share of tokens is 2e-4 in Clip-Cov, 2e-3 or 2e-4 in KL-Cov: a fraction, not a percentage"


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of Clip-Cov. ε = 1 leaves a clip at δ > 2 alone; the paper's equation has none."""

    clip_cov_ratio: float = param(
        "r",
        "share of the tokens that lose their gradient",
        default=2e-4,
        source="arXiv 2505.22617, and verl's example",
        open_low=True,
        high=0.5,
        unit="fraction of a micro-batch's tokens",
        why=why_share,
    )
    cov_low: float = param(
        "ω_low",
        "covariance above which a token may be drawn",
        default=1.0,
        source="arXiv 2505.22617, and verl's example",
        low=-100.0,
        high=100.0,
        unit=COVARIANCE,
        why=lambda _: "the bounds of the covariance are 1 and 5 in the paper",
    )
    cov_high: float = param(
        "ω_high",
        "covariance below which a token may be drawn",
        default=5.0,
        source="arXiv 2505.22617, and verl's example",
        low=-100.0,
        high=1000.0,
        unit=COVARIANCE,
        why=lambda _: "the bounds of the covariance are 1 and 5 in the paper",
    )
    epsilon_low: float = param(
        "ε_low",
        "lower distance of the clip interval from 1; 1: no lower clip",
        default=1.0,
        source=SCRIPT,
        low=parameters.EPSILON_LOWEST,
        high=1.0,
        unit=parameters.DISTANCE,
        why=parameters.why_epsilon,
    )
    epsilon_high: float = parameters.epsilon_high(1.0, SCRIPT)

    def check(self) -> None:
        """Raise ValueError where no covariance is between the bounds."""
        if self.cov_low >= self.cov_high:
            raise ValueError(f"cov_low ({self.cov_low:g}) must be below cov_high ({self.cov_high:g})")


def _settings(params: Params) -> Mapping[str, object]:
    return {
        **verl_settings.clip_ratio(params.epsilon_low, params.epsilon_high),
        "policy_loss.clip_cov_ratio": params.clip_cov_ratio,
        "policy_loss.clip_cov_lb": params.cov_low,
        "policy_loss.clip_cov_ub": params.cov_high,
    }


LOSS = Loss(
    params=Params,
    weight=None,
    title="Clip-Cov",
    summary="drops a random few of the tokens whose covariance lowers entropy most (verl's clip_cov)",
    paper="arXiv 2505.22617",
    equation="Clip-Cov objective",
    positive="0 if drawn; δ ≤ 1+ε_high: δ; else 0",
    negative="0 if drawn; δ ≥ 1−ε_low: δ; else 0",
    departures=(
        "verl adds PPO's clip, whose clipped tokens are not drawn (the paper's equation has none; the "
        "authors' script opens it to [0, 2], the default here). Means and draws are those of a micro-batch, "
        "each rank draws for itself, and at least one token is drawn from each micro-batch that has one in "
        "the bounds: below 5,000 tokens a micro-batch the share may exceed 2e-4. It does not clamp log δ."
    ),
    runs="clip_cov",
    verl=_settings,
)

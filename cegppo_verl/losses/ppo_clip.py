"""PPO-clip: what GRPO and DAPO's clip-higher train with. verl's own ``vanilla`` runs; this describes it.

    ℓ = min(δ·Â, clip(δ, 1 − ε_low, 1 + ε_high)·Â)                 (arXiv 1707.06347, Eq. 7)
    with dual clip, Â < 0:  ℓ = max(that, c·Â)                     (arXiv 1912.09729, Eq. 5)

    w = 0   in neg_below and pos_above, and with dual clip where Â < 0 and δ > c
    w = δ   elsewhere

Here the value of ℓ is not w·Â where w is 0, so ``value`` states it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters, regions
from cegppo_verl.losses.loss import Interval, Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

# verl 0.9.1, core_algos.compute_policy_loss_vanilla: clip_ratio_c defaults to 3.0 and cannot be switched off.
VERL_DUAL_CLIP = "verl 0.9.1, clip_ratio_c"


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of clip-higher. ``dual_clip`` is verl's and cannot be switched off; 1e9 disarms it."""

    epsilon_low: float = parameters.epsilon_low(0.2, "arXiv 2503.14476 §3.1")
    epsilon_high: float = parameters.epsilon_high(0.28, "arXiv 2503.14476 §3.1")
    dual_clip: float = parameters.dual_clip(3.0, VERL_DUAL_CLIP, nullable=False)


@dataclass(frozen=True, kw_only=True)
class SymmetricParams(parameters.Parameters):
    """Hyper-parameters of PPO-clip with one ε for both sides."""

    epsilon: float = param(
        "ε",
        "distance of both clip edges from 1",
        default=0.2,
        source="arXiv 1707.06347",
        low=parameters.EPSILON_LOWEST,
        high=0.999,
        unit=parameters.DISTANCE,
        why=parameters.why_epsilon,
    )
    dual_clip: float = parameters.dual_clip(3.0, VERL_DUAL_CLIP, nullable=False)

    @property
    def epsilon_low(self) -> float:
        """The lower distance."""
        return self.epsilon

    @property
    def epsilon_high(self) -> float:
        """The upper distance."""
        return self.epsilon


def weight(tokens: Tokens, params: Any) -> Tensor:
    """Gradient weight w(δ, Â) of PPO-clip; reads epsilon_low, epsilon_high and dual_clip (None: off)."""
    ratio, advantages = tokens.ratio, tokens.advantages
    w = ratio * (1.0 - regions.neg_below(ratio, advantages, params.epsilon_low))
    w.mul_(1.0 - regions.pos_above(ratio, advantages, params.epsilon_high))
    if params.dual_clip is not None:
        w.mul_(1.0 - regions.dual_clipped(ratio, advantages, params.dual_clip))
    return w


def value(tokens: Tokens, params: Any) -> Tensor:
    """Surrogate ℓ (to be maximised) of PPO-clip, per token."""
    ratio, advantages = tokens.ratio, tokens.advantages
    clipped = ratio.clamp(1.0 - params.epsilon_low, 1.0 + params.epsilon_high)
    surrogate = (ratio * advantages).minimum(clipped * advantages)
    if params.dual_clip is None:
        return surrogate
    floor = surrogate.maximum(params.dual_clip * advantages)
    return floor.where(advantages < 0, surrogate)


def interval(params: Any) -> Interval:
    """The clip interval, with the dual clip."""
    return Interval(params.epsilon_low, params.epsilon_high, params.dual_clip)


def _grpo_settings(params: SymmetricParams) -> Mapping[str, object]:
    return _settings(params.epsilon, params.epsilon, params.dual_clip)


def _dapo_settings(params: Params) -> Mapping[str, object]:
    return _settings(params.epsilon_low, params.epsilon_high, params.dual_clip)


def _settings(low: float, high: float, dual_clip: float) -> Mapping[str, object]:
    return {
        "clip_ratio": low,
        "clip_ratio_low": low,
        "clip_ratio_high": high,
        "clip_ratio_c": dual_clip,
    }


GRPO = Loss(
    params=SymmetricParams,
    weight=weight,
    value=value,
    title="GRPO (PPO-clip)",
    summary="PPO-clip with a symmetric interval and group-relative advantages (verl's vanilla, dual clip 3)",
    paper="arXiv 2402.03300",
    equation="Eq. 3 (clip: arXiv 1707.06347, Eq. 7; dual clip: arXiv 1912.09729, Eq. 5)",
    positive="δ ≤ 1+ε: δ; else 0",
    negative="1−ε ≤ δ ≤ c: δ; else 0",
    departures="No KL term (as in CE-GPPO's baseline); verl's dual clip of 3 is always on.",
    interval=interval,
    runs="vanilla",
    verl=_grpo_settings,
)

DAPO = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="DAPO (clip-higher)",
    summary="clip-higher only: PPO-clip with a wider upper side (verl's vanilla), without DAPO's other parts",
    paper="arXiv 2503.14476",
    equation="Eq. 10",
    positive="δ ≤ 1+ε_high: δ; else 0",
    negative="1−ε_low ≤ δ ≤ c: δ; else 0",
    departures="No dynamic sampling and no overlong shaping, as in CE-GPPO's baseline of that name.",
    interval=interval,
    runs="vanilla",
    verl=_dapo_settings,
)

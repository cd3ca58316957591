"""Adaptive upper clip: entropy control of MAI-Thinking-1 (Microsoft AI, technical report, June 2026).

    ℓ = min( clip(δ, r_min, r_max)·Â,  clip(δ, 1 − ε, 1/(1 − ε) + k)·Â )

    k ← clip(k + d·sign(H* − H), 0, k_max)      once per training step, k = 0 at the start

    w = 0   neg_below (δ < 1 − ε) and pos_above (δ > 1/(1 − ε) + k), as in PPO-clip
    w = 0   Â < 0 and δ > r_max, and Â > 0 and δ < r_min: the outer clip on the two branches PPO leaves open
    w = δ   elsewhere

    H     entropy of the rollout policy, nats per token     k = 0   interval symmetric in log δ

The rule and the two clips were read in two independent sets of notes on the report, which agree; the report
itself was not available to us, nor is there code. ε, d, k_max, H* and r_max are as this project's notes on
that report have them. The value of r_min was not found: 0, which is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.losses import feedback, parameters, ppo_clip, regions
from cegppo_verl.losses.control import Observation, State
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

REPORT = "MAI-Thinking-1, by notes on the report"
RATIO = "token ratio δ"


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of the adaptive upper clip; ``k`` is where k starts."""

    target: float = feedback.target(default=0.3, source=REPORT)
    epsilon: float = param(
        "ε",
        "lower distance of the clip interval from 1; its upper edge is 1/(1−ε) + k",
        default=0.6,
        source=REPORT,
        low=parameters.EPSILON_LOWEST,
        high=0.999,
        unit=parameters.DISTANCE,
        why=parameters.why_epsilon,
    )
    k: float = param(
        "k", "widening of the upper edge at the start", default=0.0, high=1e3, source=REPORT, unit=RATIO
    )
    k_step: float = param(
        "d", "change of k per training step", default=0.25, open_low=True, high=1e3, source=REPORT, unit=RATIO
    )
    k_max: float = param(
        "k_max", "largest k", default=2.5, open_low=True, high=1e3, source=REPORT, unit=RATIO
    )
    ratio_max: float = param(
        "r_max",
        "outer clip above: tokens with Â<0 and a larger ratio get no gradient",
        default=50.0,
        low=1.0,
        open_low=True,
        source=REPORT,
        unit=RATIO,
    )
    ratio_min: float = param(
        "r_min",
        "outer clip below: tokens with Â>0 and a smaller ratio get no gradient; 0 is off",
        default=0.0,
        high=1.0,
        source="none: its value was not found; off",
        unit=RATIO,
    )

    def check(self) -> None:
        """The outer clip lies outside the interval at its widest; k starts within its range.

        Raises:
            ValueError: otherwise.
        """
        if self.k > self.k_max:
            raise ValueError(f"k {self.k:g} must not exceed k_max {self.k_max:g}")
        widest = 1.0 / (1.0 - self.epsilon) + self.k_max
        if self.ratio_max <= widest:
            raise ValueError(
                f"ratio_max {self.ratio_max:g} must lie above 1/(1-epsilon) + k_max = {widest:g}"
            )
        if self.ratio_min >= 1.0 - self.epsilon:
            raise ValueError(
                f"ratio_min {self.ratio_min:g} must lie below 1 - epsilon = {1 - self.epsilon:g}"
            )

    @property
    def epsilon_low(self) -> float:
        """The lower distance from 1."""
        return self.epsilon

    @property
    def epsilon_high(self) -> float:
        """The upper distance from 1, with the present k."""
        return 1.0 / (1.0 - self.epsilon) + self.k - 1.0

    @property
    def dual_clip(self) -> float:
        """The outer clip above drops the gradient where a dual clip of that size does."""
        return self.ratio_max


@dataclass
class Controller:
    """The rule above. State: ``k``, ``held`` (1 when the step had no usable entropy)."""

    params: Params
    observes_entropy: bool = True

    def start(self) -> State:
        """K as the parameters say."""
        return {"k": self.params.k, "held": 0.0}

    def advance(self, state: State, seen: Observation) -> tuple[State, Mapping[str, float]]:
        """The next state; ``k``. Without a usable entropy it stays."""
        if feedback.measured(seen.entropy):
            sign = (seen.entropy < self.params.target) - (seen.entropy > self.params.target)
            k = min(max(state["k"] + self.params.k_step * sign, 0.0), self.params.k_max)
            state = {"k": k, "held": 0.0}
        else:
            state = {**state, "held": 1.0}
        return state, {"k": state["k"]}


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â): PPO-clip's with the outer clip on both of its open branches."""
    w = ppo_clip.weight(tokens, params)
    if params.ratio_min > 0:
        w.mul_(1.0 - regions.pos_below(tokens.ratio, tokens.advantages, 1.0 - params.ratio_min))
    return w


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised), per token."""
    ratio, advantages = tokens.ratio, tokens.advantages
    outer = ratio.clamp(params.ratio_min, params.ratio_max)
    inner = ratio.clamp(1.0 - params.epsilon_low, 1.0 + params.epsilon_high)
    return (outer * advantages).minimum(inner * advantages)


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="adaptive upper clip",
    summary="PPO-clip whose upper edge widens while entropy is below a target, and an outer clip everywhere",
    paper="MAI-Thinking-1 (Microsoft AI, 2026)",
    equation="by notes on the report",
    positive="r_min ≤ δ ≤ 1/(1−ε)+k: δ; else 0",
    negative="1−ε ≤ δ ≤ r_max: δ; else 0",
    departures=(
        "r_min is off, as its value was not found. H is the rollout policy's; how the report estimates it is "
        "not known to us. Where the gradient ends at the outer clip follows from min and clip as written."
    ),
    controller=Controller,
)

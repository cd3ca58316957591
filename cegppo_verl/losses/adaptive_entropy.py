"""Adaptive entropy coefficient on PPO-clip: MAGIC's entropy control in Skywork-OR1 (arXiv 2505.22312).

    J = J_PPO-clip + α_t · (mean entropy of π_θ over response tokens)

    c_t = clip(c_{t−1} + Δ, 0, c_max)   H_t < H*          α_t = c_t   H_t < H*
    c_t = clip(c_{t−1} − Δ, 0, c_max)   otherwise         α_t = 0     otherwise

    H_t   entropy of the rollout policy, nats per token     c_0 = 0

Read in the authors' code (SkyworkAI/Skywork-OR1, verl/trainer/ppo/core_algos.py, EntController, with
ray_trainer.py and dp_actor.py; constants in or1_scripts/train/*.sh). The report's own equation was not
available to us. The weight on ∇log π is PPO-clip's; the bonus is verl's, with α_t as its coefficient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cegppo_verl.losses import feedback, parameters, ppo_clip
from cegppo_verl.losses.control import Observation, State
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

SCRIPTS = "SkyworkAI/Skywork-OR1, or1_scripts/train (arXiv 2505.22312)"
COEFFICIENT = "weight of the entropy bonus"


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of the adaptive entropy coefficient; ``entropy_coeff`` is where c starts."""

    target: float = feedback.target(default=0.2, source=SCRIPTS)
    entropy_coeff: float = param(
        "α",
        "coefficient of the entropy bonus at the start",
        default=0.0,
        high=1.0,
        source=SCRIPTS,
        unit=COEFFICIENT,
    )
    coeff_step: float = param(
        "Δ",
        "change of the coefficient per training step",
        default=1e-4,
        open_low=True,
        high=1.0,
        source=SCRIPTS,
        unit=COEFFICIENT,
    )
    coeff_max: float = param(
        "c_max",
        "largest coefficient",
        default=5e-3,
        open_low=True,
        high=1.0,
        source=SCRIPTS,
        unit=COEFFICIENT,
    )
    epsilon_low: float = parameters.epsilon_low(0.2, SCRIPTS)
    epsilon_high: float = parameters.epsilon_high(0.2, SCRIPTS)
    dual_clip: float | None = parameters.dual_clip(None, "off: not in Skywork-OR1's verl")

    def check(self) -> None:
        """The coefficient starts within its range.

        Raises:
            ValueError: it does not.
        """
        if self.entropy_coeff > self.coeff_max:
            raise ValueError(
                f"entropy_coeff {self.entropy_coeff:g} must not exceed coeff_max {self.coeff_max:g}"
            )


@dataclass
class Controller:
    """The rule above. State: ``coeff`` c, ``below`` (1 while H < H*), ``held`` (1: no usable entropy)."""

    params: Params
    observes_entropy: bool = True

    def start(self) -> State:
        """The bonus starts as the parameters say, and switched on, as the authors' does."""
        return {"coeff": self.params.entropy_coeff, "below": 1.0, "held": 0.0}

    def advance(self, state: State, seen: Observation) -> tuple[State, Mapping[str, float]]:
        """The next state; ``entropy_coeff``. Without a usable entropy both stay."""
        if feedback.measured(seen.entropy):
            below = seen.entropy < self.params.target
            moved = state["coeff"] + (self.params.coeff_step if below else -self.params.coeff_step)
            coeff = min(max(moved, 0.0), self.params.coeff_max)
            state = {"coeff": coeff, "below": float(below), "held": 0.0}
        else:
            state = {**state, "held": 1.0}
        return state, {"entropy_coeff": state["coeff"] * state["below"]}


LOSS = Loss(
    params=Params,
    weight=ppo_clip.weight,
    value=ppo_clip.value,
    title="adaptive entropy coefficient",
    summary="PPO-clip with an entropy bonus whose coefficient rises while entropy is below a target",
    paper="arXiv 2505.22312",
    equation="the authors' EntController (verl/trainer/ppo/core_algos.py)",
    positive="δ ≤ 1+ε_high: δ; else 0",
    negative="δ ≥ 1−ε_low: δ; else 0",
    departures=(
        "H is the rollout policy's, before a step's updates; the authors' is of the previous step's updates. "
        "The bonus is reduced as verl reduces it (loss_agg_mode); theirs is each micro-batch's token mean."
    ),
    needs=frozenset({"entropy"}),
    controller=Controller,
)

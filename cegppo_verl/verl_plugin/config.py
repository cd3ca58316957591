"""Typed configuration of a policy loss inside verl's actor configuration: one class for every loss.

verl's ``PolicyLossConfig`` is a closed dataclass. Use this one through its ``_target_``:

    actor_rollout_ref.actor.policy_loss._target_=cegppo_verl.verl_plugin.config.LossConfig
    actor_rollout_ref.actor.policy_loss.loss_mode=cegppo
    +actor_rollout_ref.actor.policy_loss.algorithm=cegppo
    +actor_rollout_ref.actor.policy_loss.params.beta1=0.5
    +actor_rollout_ref.actor.policy_loss.params.beta2=1.0

``algorithm`` is a name that ``cegppo losses`` lists, or a module or file of your own (losses/external.py);
``loss_mode`` is what verl calls it (verl's own name where verl's code runs). A parameter may be a table
{step: value}: its value from that training step on. verl's ``actor.clip_ratio*`` are not read by our losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verl.workers.config import PolicyLossConfig

from cegppo_verl.errors import UserError
from cegppo_verl.losses import external, schedule
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import from_values

TARGET = "cegppo_verl.verl_plugin.config.LossConfig"
KEY = "actor_rollout_ref.actor.policy_loss"


@dataclass
class LossConfig(PolicyLossConfig):
    """verl's policy-loss configuration plus the algorithm and its parameters.

    Args:
        algorithm: name, module or file of the loss; "" takes ``loss_mode``.
        params: the loss's parameters by name; those left out take their defaults.
        full_anatomy: False counts only what verl's own metrics of ``vanilla`` need, at half the cost.

    Raises:
        UserError: an unknown algorithm, a missing or out-of-range parameter, or a loss_mode that would
            ignore them.
    """

    algorithm: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    full_anatomy: bool = True

    def __post_init__(self) -> None:
        loss = self.loss()
        expected = loss.runs or external.label(self.name)
        if self.loss_mode != expected:
            raise UserError(
                f"loss_mode is '{self.loss_mode}', which would ignore the parameters of '{self.name}'",
                key=f"{KEY}.loss_mode",
                hint=f"set loss_mode={expected}, or remove the _target_ override",
            )
        self.starting_params()

    @property
    def name(self) -> str:
        """The algorithm's name."""
        return self.algorithm or self.loss_mode

    def loss(self) -> Loss:
        """The loss meant."""
        try:
            return external.find(self.name)
        except ValueError as error:
            raise UserError(str(error), key=f"{KEY}.algorithm", hint="`cegppo losses` lists them") from error

    @property
    def given(self) -> dict[str, Any]:
        """The parameters as given, plain Python, schedules with integer steps as their keys."""
        return {name: _plain(value) for name, value in self.params.items()}

    def starting_params(self) -> Any:
        """The loss's parameters, with the first value of every schedule."""
        loss = self.loss()
        try:
            return from_values(loss.params, schedule.starting_values(self.given))
        except ValueError as error:
            hint = f"add +{KEY}.params.<name>=<value>; `cegppo losses {self.name}` explains each"
            raise UserError(f"loss '{self.name}': {error}", key=f"{KEY}.params", hint=hint) from error


def _plain(value: Any) -> Any:
    return {int(step): number for step, number in value.items()} if isinstance(value, Mapping) else value

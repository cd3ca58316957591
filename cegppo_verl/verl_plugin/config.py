"""Typed configuration of CE-GPPO inside verl's actor configuration.

verl's ``PolicyLossConfig`` is a closed dataclass. Use this one through its ``_target_``:

    actor_rollout_ref.actor.policy_loss._target_=cegppo_verl.verl_plugin.config.CEGPPOPolicyLossConfig
    actor_rollout_ref.actor.policy_loss.loss_mode=cegppo
    +actor_rollout_ref.actor.policy_loss.beta1=0.5
    +actor_rollout_ref.actor.policy_loss.beta2=1.0
    actor_rollout_ref.actor.clip_ratio_low=0.2
    actor_rollout_ref.actor.clip_ratio_high=0.2

and, only to turn the dual clip on, ``+actor_rollout_ref.actor.policy_loss.dual_clip=10.0``.
verl's own ``actor.clip_ratio_c`` is not read by CE-GPPO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from verl.workers.config import PolicyLossConfig

from cegppo_verl.errors import UserError
from cegppo_verl.losses import cegppo

TARGET = "cegppo_verl.verl_plugin.config.CEGPPOPolicyLossConfig"
KEY = "actor_rollout_ref.actor.policy_loss"


# Optional[...] and not X | None: verl may hand this class to OmegaConf.structured, as its own classes.
@dataclass
class CEGPPOPolicyLossConfig(PolicyLossConfig):
    """verl's policy-loss configuration plus CE-GPPO's hyper-parameters (``losses.cegppo.Params``).

    Args:
        beta1: weight kept for clipped tokens with Â < 0, in [0, ∞). Required: the default None is refused
            (it exists only because fields after verl's defaulted ones must have a default).
        beta2: weight kept for clipped tokens with Â > 0, in [0, ∞). Required likewise.
        dual_clip: None (off) or c > 1.

    Raises:
        UserError: a missing or out-of-range parameter, or another loss_mode than ``cegppo``
            (β1 and β2 would be ignored in silence).
    """

    loss_mode: str = "cegppo"
    beta1: Optional[float] = None  # noqa: UP045
    beta2: Optional[float] = None  # noqa: UP045
    dual_clip: Optional[float] = None  # noqa: UP045

    def __post_init__(self) -> None:
        if self.loss_mode != "cegppo":
            raise UserError(
                f"loss_mode is '{self.loss_mode}', which would ignore beta1 and beta2",
                key=f"{KEY}.loss_mode",
                hint="set loss_mode=cegppo, or remove the _target_ override",
            )
        for name in ("beta1", "beta2"):
            if getattr(self, name) is None:
                raise UserError(
                    f"{name} is required: CE-GPPO has no defaults for its weights",
                    key=f"{KEY}.{name}",
                    hint=f"add +{KEY}.{name}=<number ≥ 0>; the paper uses beta1 .5 or .75 and beta2 1",
                )
        try:
            cegppo.Params(beta1=self.beta1, beta2=self.beta2, dual_clip=self.dual_clip)  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(str(error), key=KEY) from error

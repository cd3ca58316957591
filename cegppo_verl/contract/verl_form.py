"""Functions with verl's policy-loss signature, called as verl calls them, with its configuration class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from cegppo_verl.contract.batch import Batch, Info
from cegppo_verl.contract.subjects import Subject, Values

PolicyLoss = Callable[..., tuple[Tensor, dict[str, Any]]]
POLICY = "policy_loss."


@dataclass(frozen=True, kw_only=True)
class VerlFunction(Subject):
    """A function with verl's signature, resolve.VERL_NAMES, that returns (loss, metrics).

    Args:
        function: the loss. arrange: from parameters to settings of verl's actor, by verl's names.
    """

    function: PolicyLoss
    arrange: Callable[[Values], Mapping[str, Any]] = dict
    form: str = "function with verl's policy-loss signature"

    def total(self, batch: Batch, values: Values, info: Info) -> Tensor:
        """What the function returns first."""
        return self.call(batch, values, info)

    def call(
        self, batch: Batch, values: Values, info: Info, mode: str | None = None, scale: Tensor | None = None
    ) -> Tensor:
        """The function's scalar with another reduction, or with rollout-correction weights."""
        config = configuration(self.arrange(values))
        config.global_batch_info.update(info._asdict())
        answer = self.function(
            old_log_prob=batch.old_log_prob,
            log_prob=batch.log_prob,
            advantages=batch.advantages,
            response_mask=batch.mask,
            loss_agg_mode=mode or self.mode,
            config=config,
            rollout_is_weights=scale,
        )
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TypeError("verl expects (loss, metrics) from a policy loss")
        return answer[0]


def configuration(settings: Mapping[str, Any]) -> Any:
    """The actor's configuration with ``settings``: verl's own class if it is installed, else a stand-in.

    A name that the actor has goes there, every other one (and "policy_loss.…") to ``policy_loss``.
    """
    try:
        from verl.workers.config import ActorConfig, PolicyLossConfig
    except ImportError:
        return _filled(StandIn(**STAND_IN, global_batch_info={}, policy_loss=StandIn()), settings)
    base = {"strategy": "fsdp", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 1}
    known = {k: v for k, v in settings.items() if k in ActorConfig.__dataclass_fields__}
    policy = {k.removeprefix(POLICY): v for k, v in settings.items() if k not in known}
    fields = {k: v for k, v in policy.items() if k in PolicyLossConfig.__dataclass_fields__}
    config = ActorConfig(**base, **known, policy_loss=PolicyLossConfig(**fields))
    return _filled(config, {k: v for k, v in policy.items() if k not in fields})


# verl 0.9.1, ActorConfig: what policy losses read there.
STAND_IN = {
    "clip_ratio": 0.2,
    "clip_ratio_low": 0.2,
    "clip_ratio_high": 0.2,
    "clip_ratio_c": 3.0,
    "tau_pos": 1.0,
    "tau_neg": 1.05,
    "entropy_coeff": 0.0,
    "loss_agg_mode": "token-mean",
    "loss_scale_factor": None,
}


class StandIn(SimpleNamespace):
    """Attributes that can also be asked for with ``get``, as those of verl's configuration classes can."""

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute, or ``default``."""
        return getattr(self, name, default)


def _filled(config: Any, settings: Mapping[str, Any]) -> Any:
    for name, value in settings.items():
        setattr(config if name in STAND_IN else config.policy_loss, name.removeprefix(POLICY), value)
    return config


def own(name: str) -> PolicyLoss:
    """verl's own policy loss of that name, without anything that a plugin has put around it.

    Raises:
        ImportError: verl is not installed.
    """
    import inspect

    from verl.trainer.ppo import core_algos

    return inspect.unwrap(core_algos.get_policy_loss_fn(name))

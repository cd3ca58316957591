"""In the trainer's driver: parameters that vary from step to step, their log, their place in a checkpoint."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verl.utils.config import omega_conf_to_dataclass

from cegppo_verl.errors import UserError
from cegppo_verl.losses import schedule
from cegppo_verl.losses.control import Controller, Observation, State
from cegppo_verl.records.atomic import write_text
from cegppo_verl.verl_plugin import context
from cegppo_verl.verl_plugin.config import LossConfig

STATE_FILE = "cegppo_control.json"  # beside verl's own files in global_step_<n>


class Control:
    """The controller of a run and its state.

    Attributes:
        state: after the last step that was trained. step: that step, 0 before the first.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.state: State = controller.start()
        self.step = 0
        self.values: dict[str, float] = {}

    def advance(self, seen: Observation) -> dict[str, float]:
        """The parameters' values for a step; the same again when a step is updated in several parts."""
        if seen.step != self.step:
            self.state, values = self.controller.advance(self.state, seen)
            self.step, self.values = seen.step, dict(values)
        return self.values

    def to_json(self, step: int) -> str:
        """What a checkpoint of ``step`` keeps; during a critic's warm-up no step has advanced the control."""
        return json.dumps({"step": step, "state": self.state, "values": self.values})

    def restore(self, text: str, step: int) -> None:
        """Take up the state of a checkpoint of ``step``.

        Raises:
            ValueError: the text is another step's, or not such a state.
        """
        kept = json.loads(text)
        if kept["step"] != step:
            raise ValueError(f"it is of step {kept['step']}, not {step}")
        self.step, self.state, self.values = step, dict(kept["state"]), dict(kept["values"])


def control_of(trainer: Any) -> Control | None:
    """The control of a trainer, made on first use; None when no parameter of its loss varies."""
    if not hasattr(trainer, "_cegppo_control"):
        trainer._cegppo_control = _made(trainer.config.actor_rollout_ref.actor.policy_loss)
    return trainer._cegppo_control


def _made(config: Any) -> Control | None:
    policy = omega_conf_to_dataclass(config) if config.get("_target_") else None
    if not isinstance(policy, LossConfig):
        return None
    controller = schedule.controller_of(policy.loss(), policy.given)
    return None if controller is None else Control(controller)


def with_update_actor(update_actor: Callable[..., Any]) -> Callable[..., Any]:
    """``PPOTrainer._update_actor``, after the parameters' values have been decided and put into the batch."""

    @functools.wraps(update_actor)
    def wrapped(self: Any, batch: Any, metrics: dict[str, Any]) -> Any:
        control = control_of(self)
        if control is not None:
            seen = Observation(self.global_steps, self.total_training_steps, _entropy(control, batch))
            values = control.advance(seen)
            batch.extra_info[context.VALUES] = json.dumps(values)
            logged = _logged(control, seen, values)
            metrics.update({context.LOGGED + name: value for name, value in logged.items()})
        return update_actor(self, batch, metrics=metrics)

    return wrapped


def _logged(control: Control, seen: Observation, values: dict[str, float]) -> dict[str, float]:
    observed = {} if seen.entropy is None else {"observed_entropy": seen.entropy}
    state = {f"state_{name}": value for name, value in control.state.items()}
    return observed | state | values


def _entropy(control: Control, batch: Any) -> float | None:
    """Σ of π_old's entropies over all response tokens of the rollout batch / their number, in nats.

    Not verl's ``actor/entropy``: that one is reduced by loss_agg_mode, so it means another thing per mode.
    """
    if not control.controller.observes_entropy:
        return None
    import transfer_queue as tq

    try:
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["entropy", "response_mask"]
        )
    except Exception as error:
        hint = "it comes from the pass that computes old log-probabilities: turn bypass_mode off"
        raise UserError(
            f"the loss's controller needs the entropy of the rollouts: {error}", hint=hint
        ) from error
    padded = data.to_padded_tensor()
    mask = padded["response_mask"].bool()
    total = padded["entropy"].double().masked_fill(~mask, 0.0).sum().item()
    return total / int(mask.sum()) if mask.any() and math.isfinite(total) else None


def with_save_checkpoint(save_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """``PPOTrainer._save_checkpoint``, after the state has been written: verl marks the checkpoint last."""

    @functools.wraps(save_checkpoint)
    def wrapped(self: Any) -> Any:
        control = control_of(self)
        if control is not None:
            file = _state_file(self)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, control.to_json(self.global_steps))
        return save_checkpoint(self)

    return wrapped


def with_load_checkpoint(load_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """``PPOTrainer._load_checkpoint``, and the state with it, where there is any: a schedule has none."""

    @functools.wraps(load_checkpoint)
    def wrapped(self: Any) -> Any:
        result = load_checkpoint(self)
        control = control_of(self)
        if control is not None and control.state and self.global_steps > 0:
            _restore(control, _resumed_from(self), self.global_steps)
        return result

    return wrapped


def _state_file(trainer: Any) -> Path:
    """Where the state of the trainer's present step is kept when it saves."""
    return Path(trainer.config.trainer.default_local_dir) / f"global_step_{trainer.global_steps}" / STATE_FILE


def _resumed_from(trainer: Any) -> Path:
    settings = trainer.config.trainer
    if settings.resume_mode == "resume_path":
        return Path(settings.resume_from_path) / STATE_FILE
    return _state_file(trainer)


def _restore(control: Control, file: Path, step: int) -> None:
    try:
        control.restore(file.read_text(encoding="utf-8"), step)
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = (
            "resume from another checkpoint, or start again: without its state the run would be another one"
        )
        raise UserError(
            f"no usable controller state in the checkpoint: {error}", file=file, hint=hint
        ) from error

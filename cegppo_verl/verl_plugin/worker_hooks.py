"""In every training worker: what a loss needs beyond verl's signature, laid out around its calls."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.workers.utils.padding import no_padding_2_padding

from cegppo_verl.errors import UserError
from cegppo_verl.losses import schedule, weighted
from cegppo_verl.losses.loss import Loss
from cegppo_verl.verl_plugin import context, policy_loss
from cegppo_verl.verl_plugin.config import LossConfig

PpoLoss = Callable[..., tuple[Tensor, dict[str, Any]]]


def with_side_inputs(ppo_loss: PpoLoss) -> PpoLoss:
    """verl's ``ppo_loss(config, model_output, data, dp_group)``, with the loss's context around it."""

    @functools.wraps(ppo_loss)
    def wrapped(config: Any, model_output: Any, data: Any, dp_group: Any = None) -> Any:
        loss = loss_of(config)
        if loss is None:
            return ppo_loss(config, model_output, data, dp_group)
        side = _context(config.policy_loss, model_output, data)
        with context.use(side), _entropy_bonus(config, side.values):
            return ppo_loss(config, model_output, data, dp_group)

    return wrapped


def loss_of(config: Any) -> Loss | None:
    """The loss that an actor's configuration names; None where it is verl's own configuration class."""
    policy = getattr(config, "policy_loss", None)  # a critic's configuration has none
    if not isinstance(policy, LossConfig):
        return None
    policy_loss.register_external(policy.name)
    return policy.loss()


def _context(policy: LossConfig, model_output: Any, data: Any) -> context.Context:
    loss, values = policy.loss(), _values(policy, data)
    entropy = _current_entropy(model_output, data) if "entropy" in loss.needs else None
    old_entropy = _padded(data, "entropy") if "old_entropy" in loss.needs else None
    return context.Context(values, entropy, old_entropy)


def _values(policy: LossConfig, data: Any) -> dict[str, float]:
    """The values of this step that the driver sent along.

    Raises:
        UserError: parameters vary and nothing came: a trainer whose ``_update_actor`` is not hooked would
            otherwise train with the starting values in silence.
    """
    sent = tu.get_non_tensor_data(data, key=context.VALUES, default=None)
    if sent is None and schedule.controller_of(policy.loss(), policy.given) is not None:
        hint = "use verl's v1 trainer (`cegppo run` does), or constant parameters"
        raise UserError(f"the values of this step did not arrive for loss '{policy.name}'", hint=hint)
    return json.loads(sent or "{}")


def _current_entropy(model_output: Any, data: Any) -> Tensor:
    entropy = model_output.get("entropy", None)
    if entropy is None:
        hint = "set actor_rollout_ref.actor.calculate_entropy=True"
        raise UserError("this loss needs the policy's entropy, and verl does not compute it", hint=hint)
    return no_padding_2_padding(entropy, data).detach()


def _padded(data: Any, name: str) -> Tensor:
    if name not in data:
        hint = "it comes from the pass that computes old log-probabilities: turn bypass_mode off"
        raise UserError(f"this loss needs '{name}' of the old policy, and the batch has none", hint=hint)
    # With the mask beside it, as verl does: one nested field alone would be padded to its own longest row.
    return data.select(name, "response_mask").to_padded_tensor()[name]


@contextlib.contextmanager
def _entropy_bonus(config: Any, values: Mapping[str, float]) -> Iterator[None]:
    """verl's entropy coefficient for this call, where the loss's controller sets one."""
    if "entropy_coeff" not in values:
        yield
        return
    before = config.entropy_coeff
    object.__setattr__(config, "entropy_coeff", values["entropy_coeff"])  # verl freezes its configurations
    try:
        yield
    finally:
        object.__setattr__(config, "entropy_coeff", before)


def with_statistics(train_batch: Callable[..., Any]) -> Callable[..., Any]:
    """An engine's ``train_batch(data, loss_function)``, after a pass that collects mini-batch statistics.

    The pass is forward only, over the very micro-batches that are trained on next, and its totals are summed
    over the data-parallel ranks. So what is decided does not depend on how the mini-batch is cut, and all
    ranks decide alike. It costs one forward pass, and only for losses that declare statistics.
    """

    @functools.wraps(train_batch)
    def wrapped(self: Any, data: Any, loss_function: Any) -> Any:
        config = getattr(loss_function, "keywords", {}).get("config")
        loss = None if config is None else loss_of(config)
        if loss is not None and loss.statistics is not None:
            values = _decided(self, data, config, loss)
            tu.assign_non_tensor_data(data, context.VALUES, json.dumps(values))
        return train_batch(self, data, loss_function)

    return wrapped


def _decided(engine: Any, data: Any, config: Any, loss: Loss) -> dict[str, float]:
    assert loss.statistics is not None
    given = _values(config.policy_loss, data)
    with context.use(context.Context(given)):
        params = policy_loss.params_of("", loss, config)
    parts: list[Tensor] = []
    engine.infer_batch(data, loss_function=functools.partial(_collect, loss=loss, params=params, parts=parts))
    if not parts:
        hint = "train without pipeline parallelism"
        raise UserError("this rank computes no log-probabilities to collect statistics from", hint=hint)
    totals = torch.stack(parts).sum(0)
    torch.distributed.all_reduce(totals, group=engine.get_data_parallel_group())
    return {**given, **loss.statistics.decide(totals.tolist(), params)}


def _collect(
    model_output: Any, data: Any, dp_group: Any = None, *, loss: Loss, params: Any, parts: list[Tensor]
) -> tuple[Tensor, dict[str, Any]]:
    """A loss function for verl's engine that learns nothing: it notes the micro-batch's sums."""
    assert loss.statistics is not None
    log_prob = no_padding_2_padding(model_output["log_probs"], data)
    padded = data.select("response_mask", "old_log_probs", "advantages").to_padded_tensor()
    mask = padded["response_mask"].to(bool)
    blocks = weighted.blocks(padded["old_log_probs"], log_prob, padded["advantages"], mask)
    with weighted.own_precision(log_prob):
        sums = [loss.statistics.collect(tokens, params).double() for tokens in blocks]
    parts.append(torch.stack(sums).sum(0))
    return log_prob.new_zeros(()), {}

"""Register this project's losses with verl, and give verl's own losses the same diagnostics.

Per method nothing is written here: parameters, reduction (verl's ``agg_loss``), rollout-correction weights,
verl's metrics and the anatomy counts are added once, for every loss of ``losses.registry`` alike.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo import core_algos

from cegppo_verl.errors import UserError
from cegppo_verl.losses import external, ppo_clip, weighted
from cegppo_verl.losses.loss import REFERENCE, Interval, Loss
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.verl_plugin import context, diagnostics
from cegppo_verl.verl_plugin.config import LossConfig
from cegppo_verl.verl_plugin.diagnostics import Anatomy

PolicyLoss = Callable[..., tuple[Tensor, dict[str, Any]]]
OURS = "_cegppo_verl"  # marks functions of this package, so that registering twice is no clash


def register() -> None:
    """Register every loss of ``losses.registry`` and wrap verl's own. Calling it again is harmless.

    Raises:
        UserError: one of the names already belongs to somebody else's function.
    """
    registry = core_algos.POLICY_LOSS_REGISTRY
    ours = {name: loss for name, loss in LOSSES.items() if loss.runs is None}
    verls = sorted({loss.runs for loss in LOSSES.values() if loss.runs is not None})
    for name in ours:
        _refuse_clash(name, registry.get(name))
    for name in verls:
        _refuse_clash(name, _unless_verls(registry.get(name)))
    diagnostics.keep_sums()
    for name, loss in ours.items():
        core_algos.register_policy_loss(name)(verl_loss(name, loss))
    for name in verls:
        bare = inspect.unwrap(registry[name])
        core_algos.register_policy_loss(name)(with_anatomy(bare))


def register_external(name: str) -> None:
    """Register a loss from outside the package under its label, unless that has been done.

    Raises:
        UserError: the label belongs to another loss.
    """
    loss, mode = external.find(name), external.label(name)
    if loss.runs is not None or not external.is_external(name):
        return
    taken = core_algos.POLICY_LOSS_REGISTRY.get(mode)
    if getattr(taken, "loss", None) is loss:
        return
    if taken is not None:
        hint = "rename the file or module: verl knows losses by that name alone"
        raise UserError(f"'{name}' would be called '{mode}', and there is such a loss already", hint=hint)
    core_algos.register_policy_loss(mode)(verl_loss(mode, loss))


def verl_loss(name: str, loss: Loss) -> PolicyLoss:
    """A loss of ours with verl's signature.

    The returned function takes (old_log_prob, log_prob, advantages, response_mask, loss_agg_mode, config,
    rollout_is_weights), tensors (batch, response_length), and returns the scalar loss, reduced as verl
    would reduce the per-token matrix, and the metrics of ``vanilla`` plus the anatomy counts.
    """

    def policy_loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        params, side = params_of(name, loss, config), context.current() or context.Context()
        if loss.group_filter:
            response_mask = with_variance(advantages, response_mask)
        anatomy = Anatomy(loss.interval(params), config.policy_loss.full_anatomy)
        rows = weighted.row_losses(
            old_log_prob,
            log_prob,
            advantages,
            response_mask,
            loss.bound(params),
            value=loss.bound_value(params),
            scale=rollout_is_weights,
            entropy=side.entropy,
            old_entropy=side.old_entropy,
            observe=anatomy.observe,
        )
        lengths = response_mask.sum(-1)
        whole = config.global_batch_info
        info = whole if loss.reduction == "global" else {}
        total = reduce_rows(rows, lengths, response_mask.shape[-1], loss_agg_mode, info)
        if loss.auxiliary is not None:
            total = total + loss.auxiliary(log_prob, advantages, response_mask, params)
        if loss.reduction == "micro-batch":
            total = total * share_of_rows(len(response_mask), whole)
        totals = anatomy.read(lengths.sum())
        decided = {context.LOGGED + k: v for k, v in side.values.items()} if loss.statistics else {}
        return total, diagnostics.clip_metrics(totals) | diagnostics.as_metrics(totals) | decided

    policy_loss.__name__ = policy_loss.__qualname__ = f"policy_loss_{name}"
    policy_loss.loss = loss  # type: ignore[attr-defined]
    return _mark(policy_loss)


def reduce_rows(rows: Tensor, lengths: Tensor, width: int, mode: str, info: dict[str, Any]) -> Tensor:
    """verl's ``agg_loss`` of a per-token matrix, from its row sums alone: same value, same gradient.

    Every mode of ``agg_loss`` is linear in the row sums and uses the mask only through its row sums. So a
    matrix with one column, the row's mean under a mask equal to its length, reduces to the same scalar
    without another pass over the tokens. Where verl would divide by an empty micro-batch (only without
    ``global_batch_info``), the divisor is 1 and the loss 0 instead of NaN.

    Args:
        rows: (batch,) sums of the masked per-token losses. lengths: (batch,) ``mask.sum(-1)``, in the dtype
            that it has: agg_loss's ``+ 1e-8`` rounds as that dtype does.
        width: response_length of the matrix. mode: verl's loss_agg_mode.
        info: ``config.global_batch_info`` (dp_size, batch_num_tokens, global_batch_size,
            loss_scale_factor), any of them absent or None.
    """
    info = {key: value for key, value in info.items() if value is not None}
    info.setdefault("loss_scale_factor", width)
    if info.get("dp_size", 1) == 1:
        info.setdefault("batch_num_tokens", lengths.sum().clamp(min=1))
        info.setdefault("global_batch_size", (lengths > 0).sum().clamp(min=1))
    column = (rows / lengths.clamp(min=1))[:, None]
    return core_algos.agg_loss(loss_mat=column, loss_mask=lengths[:, None], loss_agg_mode=mode, **info)


def with_variance(advantages: Tensor, response_mask: Tensor) -> Tensor:
    """The mask without the responses whose advantages are all 0: those of groups without variance."""
    kept = (response_mask.bool() & (advantages != 0)).any(-1, keepdim=True)
    return response_mask * kept


def share_of_rows(rows: int, info: dict[str, Any]) -> float:
    """What a micro-batch's own mean counts in its mini-batch: its share of the sequences.

    verl adds the losses of micro-batches up, so each mean is weighted by rows / global_batch_size, times
    dp_size as FSDP averages over ranks. 1 where verl passes no ``global_batch_size``.
    """
    total = info.get("global_batch_size")
    return rows * info.get("dp_size", 1) / total if total else 1.0


def params_of(name: str, loss: Loss, config: Any) -> Any:
    """The parameters in force: those of the configuration, with the values that vary put in.

    Raises:
        UserError: verl's actor carries no :class:`LossConfig`, or a value that should vary did not arrive.
    """
    policy = config.policy_loss
    if not isinstance(policy, LossConfig):
        hint = f"set actor_rollout_ref.actor.policy_loss._target_={LossConfig.__module__}.LossConfig"
        raise UserError(f"loss '{name}' got no parameters: policy_loss is verl's own class", hint=hint)
    params, side = policy.starting_params(), context.current()
    if side is None and (loss.statistics or loss.controller or loss.needs or _scheduled(policy)):
        hint = "train through `cegppo run`, or load the plugin before verl.workers.engine_workers"
        raise UserError(
            f"loss '{name}' needs more than verl passes, and the hooks are not in place", hint=hint
        )
    return replace(params, **side.values) if side and side.values else params


def _scheduled(policy: LossConfig) -> bool:
    return any(isinstance(value, dict) for value in policy.given.values())


def with_anatomy(loss: PolicyLoss) -> PolicyLoss:
    """Any verl policy loss, plus the anatomy counts; its value, gradient and own metrics are untouched."""
    signature = inspect.signature(loss)

    @functools.wraps(loss)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        value, metrics = loss(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        batch = [given[key] for key in ("old_log_prob", "log_prob", "advantages", "response_mask")]
        interval, weight = described(loss, given["config"])
        return value, metrics | anatomy_of(*batch, interval=interval, weight=weight)

    return _mark(wrapped)


def described(loss: PolicyLoss, config: Any) -> tuple[Interval, weighted.Weight | None]:
    """Interval and weight of a verl loss under a configuration, as far as they are known.

    Without a :class:`LossConfig`, i.e. where somebody uses verl without this project's grids, only
    ``vanilla`` is described, with whatever bounds it has: diagnostics must not refuse what verl runs.
    """
    policy = config.policy_loss
    if isinstance(policy, LossConfig):
        described_by, params = policy.loss(), policy.starting_params()
        weight = None if described_by.weight is None else described_by.bound(params)
        return described_by.interval(params), weight
    if loss is not core_algos.compute_policy_loss_vanilla:
        return REFERENCE, None
    low, high = clip_bounds(config)
    bounds = SimpleNamespace(epsilon_low=low, epsilon_high=high, dual_clip=config.get("clip_ratio_c", 3.0))
    return ppo_clip.interval(bounds), functools.partial(ppo_clip.weight, params=bounds)


def clip_bounds(config: Any) -> tuple[float, float]:
    """(ε_low, ε_high) of an ActorConfig as verl reads them: clip_ratio_low/high, else clip_ratio."""
    low, high = config.clip_ratio_low, config.clip_ratio_high
    return config.clip_ratio if low is None else low, config.clip_ratio if high is None else high


@torch.no_grad()
def anatomy_of(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    interval: Interval,
    weight: weighted.Weight | None,
) -> dict[str, Any]:
    """The anatomy counts of a batch, tensors (batch, response_length), as verl metrics."""
    anatomy, side = Anatomy(interval), context.current() or context.Context()
    batch = (old_log_prob, log_prob, advantages, response_mask)
    with weighted.own_precision(log_prob):
        for tokens in weighted.blocks(*batch, side.entropy, side.old_entropy):
            anatomy.observe(tokens, None if weight is None else weighted.product(tokens, weight))
    return diagnostics.as_metrics(anatomy.read(response_mask.sum()))


def _mark(function: PolicyLoss) -> PolicyLoss:
    setattr(function, OURS, True)
    return function


def _unless_verls(function: Any) -> Any:
    return None if getattr(function, "__module__", "") == core_algos.__name__ else function


def _refuse_clash(name: str, taken: Any) -> None:
    if taken is None or getattr(taken, OURS, False):
        return
    owner = f"{getattr(taken, '__module__', '?')}.{getattr(taken, '__qualname__', taken)}"
    raise UserError(
        f"verl's policy loss '{name}' is already registered by {owner}",
        hint="remove the other plugin (VERL_USE_EXTERNAL_PLUGINS=cegppo_verl) or rename its loss",
    )

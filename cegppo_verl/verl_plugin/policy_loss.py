"""Register this project's losses with verl, and give verl's own ``vanilla`` the same diagnostics.

Per method nothing is written here: reduction (verl's ``agg_loss``), rollout-correction weights, verl's
metrics and the anatomy counts are added once, for every loss of ``losses.registry``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor
from verl.trainer.ppo import core_algos

from cegppo_verl.errors import UserError
from cegppo_verl.losses import ppo_clip, weighted
from cegppo_verl.losses.registry import LOSSES, Loss
from cegppo_verl.verl_plugin import diagnostics
from cegppo_verl.verl_plugin.diagnostics import Anatomy

PolicyLoss = Callable[..., tuple[Tensor, dict[str, Any]]]
OURS = "_cegppo_verl"  # marks functions of this package, so that registering twice is no clash


class Clip(NamedTuple):
    """The clip interval that a configuration asks for, and the weight its tokens get (None: unknown)."""

    epsilon_low: float
    epsilon_high: float
    dual_clip: float | None = None
    weight: weighted.Weight | None = None


def register() -> None:
    """Register every loss of ``losses.registry`` and wrap verl's ``vanilla``. Calling it again is harmless.

    Raises:
        UserError: one of the names, or ``vanilla``, already belongs to somebody else's function.
    """
    registry = core_algos.POLICY_LOSS_REGISTRY
    for name in LOSSES:
        _refuse_clash(name, registry.get(name))
    vanilla = registry.get("vanilla")
    if not getattr(vanilla, OURS, False):
        _refuse_clash("vanilla", None if vanilla is core_algos.compute_policy_loss_vanilla else vanilla)
    diagnostics.keep_sums()
    for name, loss in LOSSES.items():
        core_algos.register_policy_loss(name)(verl_loss(name, loss))
    wrapped = with_anatomy(core_algos.compute_policy_loss_vanilla, vanilla_clip)
    core_algos.register_policy_loss("vanilla")(wrapped)


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
        params = params_of(name, loss, config)
        anatomy = Anatomy(params.epsilon_low, params.epsilon_high, params.dual_clip)
        rows = weighted.row_losses(
            old_log_prob,
            log_prob,
            advantages,
            response_mask,
            loss.bound(params),
            scale=rollout_is_weights,
            observe=anatomy.add,
        )
        lengths = response_mask.sum(-1)
        total = reduce_rows(rows, lengths, response_mask.shape[-1], loss_agg_mode, config.global_batch_info)
        totals = anatomy.read(lengths.sum())
        return total, diagnostics.clip_metrics(totals) | diagnostics.as_metrics(totals)

    policy_loss.__name__ = policy_loss.__qualname__ = f"policy_loss_{name}"
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


def params_of(name: str, loss: Loss, config: Any) -> Any:
    """The loss's parameters from verl's ActorConfig: clip bounds from the actor, the rest from policy_loss.

    Raises:
        UserError: a parameter is missing or out of range.
    """
    low, high = clip_bounds(config)
    given = {f.name: config.policy_loss.get(f.name, None) for f in fields(loss.params)}
    try:
        return loss.params(**{**given, "epsilon_low": low, "epsilon_high": high})
    except ValueError as error:
        raise UserError(
            f"loss '{name}': {error}",
            key="actor_rollout_ref.actor.policy_loss",
            hint="set policy_loss._target_ to the configuration class in cegppo_verl.verl_plugin.config "
            "and add the parameters with +",
        ) from error


def clip_bounds(config: Any) -> tuple[float, float]:
    """(ε_low, ε_high) of an ActorConfig as verl reads them: clip_ratio_low/high, else clip_ratio."""
    low, high = config.clip_ratio_low, config.clip_ratio_high
    return config.clip_ratio if low is None else low, config.clip_ratio if high is None else high


def vanilla_clip(config: Any) -> Clip:
    """Interval and weight of verl's ``vanilla``: PPO-clip with its dual clip (clip_ratio_c, 3 by default)."""
    low, high = clip_bounds(config)
    c = config.get("clip_ratio_c", 3.0)
    params = ppo_clip.Params(epsilon_low=low, epsilon_high=high, dual_clip=c)
    return Clip(low, high, c, functools.partial(ppo_clip.weight, params=params))


def with_anatomy(loss: PolicyLoss, clip_of: Callable[[Any], Clip]) -> PolicyLoss:
    """Any verl policy loss, plus the anatomy counts; its value, gradient and own metrics are untouched.

    Args:
        loss: a function with verl's signature.
        clip_of: the interval to count by, from the actor's configuration. For losses whose clip_ratio_*
            are no bounds on δ (gspo, dppo_*, geo_mean) it must name the interval itself.
    """
    signature = inspect.signature(loss)

    @functools.wraps(loss)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Any]]:
        value, metrics = loss(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        batch = [given[key] for key in ("old_log_prob", "log_prob", "advantages", "response_mask")]
        return value, metrics | anatomy_of(*batch, clip=clip_of(given["config"]))

    return _mark(wrapped)


@torch.no_grad()
def anatomy_of(
    old_log_prob: Tensor, log_prob: Tensor, advantages: Tensor, response_mask: Tensor, *, clip: Clip
) -> dict[str, Any]:
    """The anatomy counts of a batch, tensors (batch, response_length), as verl metrics."""
    anatomy = Anatomy(clip.epsilon_low, clip.epsilon_high, clip.dual_clip)
    for block in weighted.blocks(old_log_prob, log_prob, advantages, response_mask, clip.weight):
        anatomy.add(block)
    return diagnostics.as_metrics(anatomy.read(response_mask.sum()))


def _mark(function: PolicyLoss) -> PolicyLoss:
    setattr(function, OURS, True)
    return function


def _refuse_clash(name: str, taken: Any) -> None:
    if taken is None or getattr(taken, OURS, False):
        return
    owner = f"{getattr(taken, '__module__', '?')}.{getattr(taken, '__qualname__', taken)}"
    raise UserError(
        f"verl's policy loss '{name}' is already registered by {owner}",
        hint="remove the other plugin (VERL_USE_EXTERNAL_PLUGINS=cegppo_verl) or rename its loss",
    )

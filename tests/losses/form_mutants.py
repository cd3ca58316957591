"""Mistakes that only a Loss object, or only a function with verl's signature, can make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from losses.loss_contract import PAPER

from cegppo_verl.contract import resolve
from cegppo_verl.contract.batch import Batch, Info
from cegppo_verl.contract.subjects import LossObject, Subject, Values
from cegppo_verl.losses import cegppo, parameters, ppo_clip
from cegppo_verl.losses.loss import Loss, Statistics

PPO = replace(ppo_clip.DAPO, runs=None, verl=None)


@dataclass(frozen=True, kw_only=True)
class Centred(parameters.Parameters):
    """A loss whose one parameter is the mean ratio of the mini-batch."""

    centre: float = parameters.param("m", "mean ratio", default=1.0)


def _totals(tokens: Any, params: Any) -> torch.Tensor:
    return torch.stack([(tokens.ratio * tokens.mask).sum(), tokens.mask.sum()])


def _means(tokens: Any, params: Any) -> torch.Tensor:
    return torch.stack(
        [(tokens.ratio * tokens.mask).sum() / tokens.mask.sum().clamp(min=1), tokens.mask.new_ones(())]
    )


def _decide(totals: list[float], params: Any) -> dict[str, float]:
    return {"centre": totals[0] / max(totals[1], 1.0)}


CENTRED = Loss(
    params=Centred,
    weight=lambda tokens, params: tokens.ratio + (params.centre - 1.0),
    title="centred",
    summary="",
    paper="",
    equation="",
    positive="",
    negative="",
    statistics=Statistics(_totals, _decide),
)


def _read(tokens: Any, params: Any) -> torch.Tensor:
    assert tokens.ratio.max().item() > 0
    return cegppo.weight(tokens, params)


OBJECTS: dict[str, tuple[Loss, dict[str, Any], str]] = {
    "value_of_nothing_clipped": (
        replace(PPO, value=lambda tokens, params: tokens.ratio * tokens.advantages),
        {},
        "weight = slope of value",
    ),
    "value_of_nan": (
        replace(PPO, value=lambda tokens, params: ppo_clip.value(tokens, params) * torch.nan),
        {},
        "weight = slope of value",
    ),
    "weight_not_its_own": (
        replace(cegppo.LOSS, weight=lambda tokens, params: tokens.ratio),
        PAPER,
        "fresh weight",
    ),
    "auxiliary_differentiated_through_advantages": (
        replace(
            cegppo.LOSS, auxiliary=lambda log_prob, advantages, mask, params: (log_prob * advantages).sum()
        ),
        PAPER,
        "no other gradient",
    ),
    "auxiliary_that_autocast_rounds": (
        replace(cegppo.LOSS, auxiliary=lambda log_prob, *_: (log_prob @ torch.eye(log_prob.shape[-1])).sum()),
        PAPER,
        "under autocast",
    ),
    "statistics_that_do_not_add_up": (
        replace(CENTRED, statistics=Statistics(_means, _decide)),
        {},
        "micro-batches",
    ),
    "a_number_read_in_the_weight": (replace(cegppo.LOSS, weight=_read), PAPER, "host synchronisations"),
}


class Leaky(LossObject):
    """A Loss whose total gives log π_old the gradient 0 and Â the gradient NaN."""

    def total(self, batch: Batch, values: Values, info: Info) -> torch.Tensor:
        leaks = batch.old_log_prob.sum() * 0.0 + batch.advantages.sum() * torch.nan
        return super().total(batch, values, info) + leaks


LEAKY = Leaky(name="leaky", settings=(PAPER,), loss=cegppo.LOSS)


def object_mutant(name: str) -> Subject:
    """A Loss object with a mistake."""
    loss, values, _ = OBJECTS[name]
    return resolve.from_object(loss, name, dict(values))


def verl_loss(
    old_log_prob: torch.Tensor,
    log_prob: torch.Tensor,
    advantages: torch.Tensor,
    response_mask: torch.Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: torch.Tensor | None = None,
    bug: str | None = None,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Policy gradient with importance weights, reduced as verl does it."""
    info = config.global_batch_info
    each = -(log_prob - old_log_prob).exp() * advantages * response_mask
    if rollout_is_weights is not None and bug != "rollout_weights_ignored":
        each = each * rollout_is_weights
    if bug == "mode_ignored" or loss_agg_mode == "token-mean":
        return each.sum() / info["batch_num_tokens"] * info["dp_size"], {}
    if loss_agg_mode == "token-sum":
        return each.sum() * info["dp_size"], {}
    rows = each.sum(-1)
    if bug == "nan_in_a_later_mode" and loss_agg_mode == "seq-mean-token-sum":
        rows = rows * torch.nan
    if loss_agg_mode == "seq-mean-token-mean":
        rows = rows / (response_mask.sum(-1) + 1e-8)
    if loss_agg_mode == "seq-mean-token-sum-norm":
        rows = rows / response_mask.shape[-1]
    return rows.sum() / info["global_batch_size"] * info["dp_size"], {}


VERL = {
    "mode_ignored": "loss_agg_mode",
    "rollout_weights_ignored": "rollout weights",
    "nan_in_a_later_mode": "loss_agg_mode",
}


def verl_mutant(bug: str | None) -> Subject:
    """The function with a mistake, or without one."""
    return resolve.from_object(_with(bug), f"verl_loss {bug}", {})


def _with(bug: str | None) -> Callable[..., Any]:
    def loss(
        old_log_prob, log_prob, advantages, response_mask, loss_agg_mode, config=None, rollout_is_weights=None
    ):
        tensors = old_log_prob, log_prob, advantages, response_mask
        return verl_loss(*tensors, loss_agg_mode, config, rollout_is_weights, bug)

    return loss

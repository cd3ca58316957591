"""The reference loop's loss has the gradient and the counts of verl's adapter, for every loss it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from losses import rows
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig

from cegppo_verl.losses import schedule
from cegppo_verl.losses.parameters import from_values
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.reference.objective import Batch, Objective
from cegppo_verl.verl_plugin import context, diagnostics, policy_loss
from cegppo_verl.verl_plugin.config import LossConfig

policy_loss.register()

NAMES = [name for name, loss in LOSSES.items() if loss.weight is not None]
MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
CASES = [
    (name, mode)
    for name in NAMES
    for mode in ((LOSSES[name].loss_agg_mode,) if LOSSES[name].loss_agg_mode else MODES)
]
ROWS, LENGTH = 16, 6


def batch(seed: int = 0) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """Rollouts, one group without variance, and log π_θ and entropy of a policy that has moved."""
    source = torch.Generator().manual_seed(seed)
    old = -0.05 - torch.randn(ROWS, LENGTH, generator=source).abs()
    log_prob = (old + 0.5 * torch.randn(ROWS, LENGTH, generator=source)).clamp(max=-0.01)
    entropies = torch.rand(2, ROWS, LENGTH, generator=source) + 0.2
    lengths = torch.randint(1, LENGTH + 1, (ROWS, 1), generator=source)
    lengths[0] = LENGTH
    mask = torch.arange(LENGTH)[None] < lengths
    advantages = torch.randn(ROWS, 1, generator=source).expand(ROWS, LENGTH).clone()
    advantages[8:12] = 0.0
    ids = torch.zeros(ROWS, LENGTH, dtype=torch.long)
    return Batch(ids, mask, old, entropies[0], advantages), log_prob, entropies[1]


def parameters(name: str) -> dict[str, Any]:
    """Settings in which no two numbers are equal."""
    return dict(rows.load(name).parameters[-1])


def config_of(name: str, params: dict[str, Any]) -> ActorConfig:
    loss = LOSSES[name]
    settings = loss.verl(from_values(loss.params, params)) if loss.verl else {}
    inner = {k.removeprefix("policy_loss."): v for k, v in settings.items() if k.startswith("policy_loss.")}
    outer = {k: v for k, v in settings.items() if not k.startswith("policy_loss.")}
    policy = LossConfig(loss_mode=loss.runs or name, algorithm=name, params=params, **inner)
    base = {"strategy": "fsdp", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 1}
    return ActorConfig(**base, policy_loss=policy, **outer)


def through_verl(name: str, mode: str, decided: dict[str, float]) -> tuple[torch.Tensor, dict[str, float]]:
    given, log_prob, entropy = batch()
    log_prob.requires_grad_()
    config = config_of(name, parameters(name))
    loss = core_algos.get_policy_loss_fn(LOSSES[name].runs or name)
    with context.use(context.Context(decided, entropy, given.old_entropy)):
        total, metrics = loss(given.old_log_prob, log_prob, given.advantages, given.mask, mode, config, None)
    (gradient,) = torch.autograd.grad(total, log_prob)
    counts = {
        key.removeprefix(diagnostics.PREFIX): metric.aggregate()
        for key, metric in metrics.items()
        if key.startswith(diagnostics.PREFIX)
    }
    return gradient, counts


def objective(name: str, mode: str, coeff: float = 0.0) -> Objective:
    loss = LOSSES[name]
    params = from_values(loss.params, schedule.starting_values(parameters(name)))
    return Objective(loss, params, mode, coeff, LENGTH)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_gradient_and_counts_are_the_adapters(name: str, mode: str) -> None:
    expected, counted = through_verl(name, mode, {})
    given, log_prob, entropy = batch()
    log_prob.requires_grad_()
    total, counts = objective(name, mode)(given, given, log_prob, entropy)
    (gradient,) = torch.autograd.grad(total, log_prob)
    torch.testing.assert_close(gradient, expected, rtol=2e-4, atol=1e-7)
    assert gradient.abs().sum() > 0
    assert counts == pytest.approx(counted)


@pytest.mark.parametrize("mode", MODES)
def test_micro_batches_add_up_to_the_mini_batch(mode: str) -> None:
    given, log_prob, entropy = batch()
    log_prob.requires_grad_()
    loss = objective("cegppo", mode, coeff=0.01)
    halves = (slice(0, 8), slice(8, 16))
    wide = [given.rows(part).mask.shape[1] for part in halves]
    parts = [
        loss(given.rows(part), given, log_prob[part, :width], entropy[part, :width])[0]
        for part, width in zip(halves, wide, strict=True)
    ]
    (split,) = torch.autograd.grad(sum(parts), log_prob)
    (at_once,) = torch.autograd.grad(loss(given, given, log_prob, entropy)[0], log_prob)
    torch.testing.assert_close(split, at_once, rtol=1e-5, atol=1e-9)


def test_an_entropy_bonus_raises_entropy() -> None:
    given, log_prob, entropy = batch()
    entropy.requires_grad_()
    total, _ = objective("grpo", "token-mean", coeff=0.5)(given, given, log_prob.requires_grad_(), entropy)
    (gradient,) = torch.autograd.grad(total, entropy)
    torch.testing.assert_close(gradient, -0.5 * given.mask.float() / given.mask.sum())


def test_decided_values_replace_parameters_and_the_bonus() -> None:
    changed = objective("adaptive_entropy", "token-mean").with_values({"entropy_coeff": 0.002})
    assert changed.entropy_coeff == changed.params.entropy_coeff == 0.002

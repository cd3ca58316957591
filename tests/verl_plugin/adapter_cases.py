"""Shared by the tests of the adapter to verl: a worker's configuration, tensors, one call of a loss."""

import torch
from losses.loss_contract import batch
from verl.trainer.ppo import core_algos
from verl.utils.metric import Metric
from verl.workers.config import ActorConfig

from cegppo_verl.verl_plugin import policy_loss
from cegppo_verl.verl_plugin.config import LossConfig

policy_loss.register()  # verl's plugin loader has done it; twice is fine
cegppo = core_algos.get_policy_loss_fn("cegppo")

COUNTS = {
    "tokens",
    "neg_below",
    "pos_above",
    "neg_above",
    "pos_below",
    "inside",
    "weight_abs",
    "weight_abs_outside",
    "updates",
}


def actor(
    beta1=0.5, beta2=1.0, dual_clip=None, policy=None, clip_ratio_low=0.2, clip_ratio_high=0.2, **settings
):
    """An ActorConfig as a worker builds it, for CE-GPPO unless ``policy`` says otherwise."""
    bounds = {"epsilon_low": clip_ratio_low, "epsilon_high": clip_ratio_high}
    policy = policy or loss_config("cegppo", beta1=beta1, beta2=beta2, dual_clip=dual_clip, **bounds)
    base = {"strategy": "fsdp", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 1}
    both = {"clip_ratio_low": clip_ratio_low, "clip_ratio_high": clip_ratio_high}
    return ActorConfig(**base, **both, policy_loss=policy, **settings)


def loss_config(algorithm, loss_mode=None, **params):
    """The policy-loss configuration of an algorithm."""
    return LossConfig(loss_mode=loss_mode or algorithm, algorithm=algorithm, params=params)


def tensors(seed=0, dtype=torch.float64, spread=1.0):
    log_ratio, advantages, mask = batch(seed=seed)
    old = torch.full_like(log_ratio, -1.0)
    old, log_prob, advantages = (t.to(dtype) for t in (old, old + spread * log_ratio, advantages))
    return old, log_prob.requires_grad_(), advantages, mask


def call(loss, old, log_prob, advantages, mask, mode, config, weights=None):
    value, metrics = loss(old, log_prob, advantages, mask, mode, config, weights)
    (gradient,) = torch.autograd.grad(value, log_prob)
    return value.detach(), gradient, metrics


def plain(metrics):
    return {k: v.aggregate() if isinstance(v, Metric) else v for k, v in metrics.items()}


def as_subject(
    old, log_prob, advantages, mask, *, beta1, beta2, epsilon_low, epsilon_high, dual_clip=None, **info
):
    config = actor(beta1, beta2, dual_clip, clip_ratio_low=epsilon_low, clip_ratio_high=epsilon_high)
    config.global_batch_info.update(info)
    return cegppo(old, log_prob, advantages, mask, "token-mean", config)[0]

"""CE-GPPO as a plain autograd expression, correct as it stands, and with one mistake planted at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def literal(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    beta1: float,
    beta2: float,
    epsilon_low: float,
    epsilon_high: float,
    dual_clip: float | None = None,
    dp_size: int = 1,
    batch_num_tokens: int | None = None,
    global_batch_size: int | None = None,
    bug: str | None = None,
) -> Tensor:
    """Token-mean CE-GPPO loss of the contract's signature; ``bug`` plants one of BUGS."""
    del global_batch_size
    if bug == "betas_swapped":
        beta1, beta2 = beta2, beta1
    if bug == "epsilons_swapped":
        epsilon_low, epsilon_high = epsilon_high, epsilon_low
    if bug == "dual_clip_on_by_default" and dual_clip is None:
        dual_clip = 3.0
    if bug == "dual_clip_ignored":
        dual_clip = None
    wide = (lambda t: t) if bug == "computed_in_bf16" or log_prob.dtype != torch.bfloat16 else Tensor.float
    log_ratio = wide(log_prob) - wide(old_log_prob)
    if bug == "ratio_inverted":
        log_ratio = -log_ratio
    per_token = _objective(
        log_ratio, wide(advantages), beta1, beta2, epsilon_low, epsilon_high, dual_clip, bug
    )
    if bug == "sign_flipped":
        per_token = -per_token
    keep = torch.ones_like(mask) if bug == "mask_forgotten" else mask
    tokens: Any = batch_num_tokens
    if batch_num_tokens is None or bug == "local_token_mean":
        tokens = mask.sum()
    scale = 1 if bug == "dp_size_forgotten" else dp_size
    return -(per_token * keep).sum() / tokens * scale


def _objective(
    log_ratio: Tensor,
    advantages: Tensor,
    beta1: float,
    beta2: float,
    epsilon_low: float,
    epsilon_high: float,
    dual_clip: float | None,
    bug: str | None,
) -> Tensor:
    bare = log_ratio.exp()
    one = (log_ratio - log_ratio.detach()).exp()  # value 1, gradient ∇log π, at any log-ratio
    ratio = one * log_ratio.detach().clamp(max=20.0).exp()
    if bug == "clamped_before_the_preserved_term":
        ratio = log_ratio.clamp(-20, 20).exp()
        one = ratio / ratio.detach()
    if bug == "literal_division":
        one = bare / bare.detach()
    if bug == "detach_dropped":
        one = ratio / ratio
    if bug == "stop_gradient_forgotten":
        one = ratio
    low, high = 1 - epsilon_low, 1 + epsilon_high
    below, above = ratio < low, ratio > high
    if bug == "bounds_not_strict":
        below, above = ratio <= low, ratio >= high
    negative, positive = advantages < 0, advantages > 0
    if bug == "advantage_signs_swapped":
        negative, positive = positive, negative
    if bug == "clipped_on_both_sides":
        negative = positive = torch.ones_like(below)
    kept_low, kept_high = (beta1, beta2) if bug == "bound_factor_forgotten" else (beta1 * low, beta2 * high)
    surrogate = torch.where(below & negative, kept_low * one, ratio)
    surrogate = torch.where(above & positive, kept_high * one, surrogate)
    if bug == "ppo_clip":
        surrogate = torch.where((below & negative) | (above & positive), ratio.detach(), ratio)
    if bug == "nothing_clipped":
        surrogate = ratio
    if bug == "pessimistic_branch_uncapped":
        surrogate = torch.where((below & negative) | (above & positive), surrogate, bare)
    objective = surrogate * advantages
    if dual_clip is not None:
        objective = torch.where((advantages < 0) & (ratio > dual_clip), 0.0 * one, objective)
    return objective


BUGS = (
    "sign_flipped",
    "betas_swapped",
    "epsilons_swapped",
    "advantage_signs_swapped",
    "bounds_not_strict",
    "mask_forgotten",
    "clamped_before_the_preserved_term",
    "literal_division",
    "detach_dropped",
    "stop_gradient_forgotten",
    "bound_factor_forgotten",
    "ratio_inverted",
    "clipped_on_both_sides",
    "ppo_clip",
    "nothing_clipped",
    "pessimistic_branch_uncapped",
    "dual_clip_on_by_default",
    "dual_clip_ignored",
    "local_token_mean",
    "dp_size_forgotten",
    "computed_in_bf16",
)


def mutant(bug: str) -> Callable[..., Tensor]:
    """The literal form with one mistake."""
    assert bug in BUGS
    return lambda *tensors, **hyper: literal(*tensors, **hyper, bug=bug)

"""CE-GPPO as a plain autograd expression, correct as it stands, and with one mistake planted at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
    if bug == "zero_beta_taken_for_missing":
        beta1, beta2 = beta1 or 1.0, beta2 or 1.0
    if bug == "advantages_written_to":
        advantages.mul_(mask)
    live = torch.ones_like(log_prob, dtype=torch.bool) if bug in OPEN else mask.bool()
    old_log_prob, log_prob, advantages = (t.where(live, 0.0) for t in (old_log_prob, log_prob, advantages))
    wide = (lambda t: t) if bug == "computed_in_bf16" or log_prob.dtype != torch.bfloat16 else Tensor.float
    if bug == "advantages_normalised_again":
        advantages = advantages / advantages.abs().max().clamp(min=1.0)
    finite = log_prob if bug == "log_prob_not_guarded" else log_prob.nan_to_num(neginf=-1e4)
    log_ratio = wide(finite) - wide(old_log_prob)
    if bug == "ratio_inverted":
        log_ratio = -log_ratio
    hyper = beta1, beta2, epsilon_low, epsilon_high, dual_clip
    per_token = _objective(log_ratio, wide(advantages), *hyper, bug)
    if bug in NAN:
        per_token = per_token * torch.where(NAN[bug](log_prob, mask, log_ratio, hyper), torch.nan, 1.0)
    if bug == "matrix_product_under_autocast":
        per_token = per_token @ torch.eye(per_token.shape[-1], dtype=per_token.dtype)
    if bug == "sign_flipped":
        per_token = -per_token
    if bug == "tokens_read_one_by_one":
        per_token = (
            per_token * sum(1.0 for x in log_ratio.flatten() if x.item() == x.item()) / log_ratio.numel()
        )
    if bug == "value_of_another_loss":
        per_token = per_token + 0.01
    total = _summed(per_token, mask, bug)
    tokens = batch_num_tokens
    if batch_num_tokens is None or bug == "local_token_mean":
        tokens = mask.sum().clamp(min=1)
    return -total / tokens * (1 if bug == "dp_size_forgotten" else dp_size)


def _summed(per_token: Tensor, mask: Tensor, bug: str | None) -> Tensor:
    if bug == "mask_forgotten":
        return per_token.sum()
    if bug == "boolean_mask_taken_for_granted":
        return per_token[mask].sum()
    if bug == "mean_of_an_empty_row":
        return ((per_token * mask).sum(-1) / mask.sum(-1) * mask.sum(-1)).sum()
    return (per_token * mask).sum()


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


OPEN = ("padding_multiplied", "mask_forgotten")  # padding is not cleared before the ratio is formed

# Where a NaN appears, of which max([0.0, nan]), 0.0, knows nothing: not in the first of the numbers compared.
NAN: dict[str, Callable[..., Tensor]] = {
    "nan_in_a_large_uneven_batch": lambda x, mask, d, hyper: _all(
        x, x.shape[0] > 3 and hyper[0] != PAPER_BETA
    ),
    "nan_with_uneven_betas": lambda x, mask, d, hyper: _all(x, hyper[0] != PAPER_BETA),
    "nan_for_a_double_mask": lambda x, mask, d, hyper: _all(x, mask.dtype == torch.float64),
    "nan_where_the_ratio_is_large": lambda x, mask, d, hyper: d > 1.0,
    "nan_below_the_clamp": lambda x, mask, d, hyper: (d.abs() > 19.5) & (d.abs() < 19.95),
}
PAPER_BETA = 0.5


def _all(like: Tensor, wanted: bool) -> Tensor:
    return torch.full_like(like, wanted, dtype=torch.bool)


# Every mistake with a check that must see it.
BUGS = {
    "sign_flipped": "on-policy",
    "betas_swapped": "gradient as printed",
    "epsilons_swapped": "gradient as printed",
    "advantage_signs_swapped": "worked by hand",
    "bounds_not_strict": "bounds are inside",
    "mask_forgotten": "padding",
    "padding_multiplied": "padding of NaN and ∞",
    "boolean_mask_taken_for_granted": "kinds of mask",
    "mean_of_an_empty_row": "no tokens",
    "clamped_before_the_preserved_term": "extremes keep gradients",
    "literal_division": "extremes are finite",
    "pessimistic_branch_uncapped": "extremes are finite",
    "log_prob_not_guarded": "log π = −∞",
    "detach_dropped": "gradient as printed",
    "stop_gradient_forgotten": "gradient as printed",
    "bound_factor_forgotten": "worked by hand",
    "ratio_inverted": "gradient as printed",
    "clipped_on_both_sides": "gradient as printed",
    "ppo_clip": "gradient as printed",
    "nothing_clipped": "worked by hand",
    "dual_clip_on_by_default": "worked by hand",
    "dual_clip_ignored": "gradient as printed",
    "zero_beta_taken_for_missing": "limits",
    "value_of_another_loss": "value as printed",
    "advantages_normalised_again": "linear in Â",
    "local_token_mean": "micro-batches",
    "dp_size_forgotten": "data-parallel ranks",
    "computed_in_bf16": "bf16",
    "advantages_written_to": "inputs kept",
    "tokens_read_one_by_one": "host synchronisations",
    "matrix_product_under_autocast": "under autocast",
    "nan_in_a_large_uneven_batch": "gradient as printed",
    "nan_with_uneven_betas": "on-policy",
    "nan_for_a_double_mask": "kinds of mask",
    "nan_where_the_ratio_is_large": "bf16",
    "nan_below_the_clamp": "extremes keep gradients",
}


def mutant(bug: str) -> Callable[..., Tensor]:
    """The literal form with one mistake."""
    assert bug in BUGS
    return partial(literal, bug=bug)

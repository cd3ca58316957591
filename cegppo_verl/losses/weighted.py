"""Turn any gradient weight into a loss: ∂loss/∂log π_θ = −w·Â·mask·scale, exactly.

For a ratio-based token-level loss, ∇J = E[w(δ, Â)·Â·∇log π_θ]. So no graph through the ratio is
needed: w·Â is computed without one, kept, and handed to autograd as the gradient. Work goes block by
block (a few rows at a time), so that on a CPU the intermediate tensors stay in its cache and peak
memory is the gradient itself plus one block. Precision is float32 at least, whatever the inputs
(bf16 is widened), float64 if any input is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from cegppo_verl.losses.tokens import MAX_LOG_RATIO, Tokens

Weight = Callable[[Tokens], Tensor]
"""w(tokens) → (rows, response_length): a loss's weight function with its parameters bound."""

BLOCK_TOKENS = 65_536  # 256 KiB per fp32 tensor: hides the fixed cost of a block, and still stays in a cache
ACCELERATOR_BLOCK_TOKENS = 2**24  # one pass; and counts held in fp32 stay exact


def blocks(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    entropy: Tensor | None = None,
    old_entropy: Tensor | None = None,
) -> Iterator[Tokens]:
    """Walk over a batch block by block, without a graph.

    Args:
        old_log_prob, log_prob, advantages, mask: (batch, response_length); mask 1 or True = counts.
        entropy, old_entropy: the same shape, nats, for losses that need them.

    Raises:
        ValueError: the shapes differ, or are not two-dimensional.
    """
    _check_shapes(old_log_prob, log_prob, advantages, mask)
    dtype = _working_dtype(old_log_prob, log_prob, advantages)
    for rows in _row_slices(log_prob):
        padding = mask[rows].bool().logical_not()
        log_ratio = log_prob[rows].detach().to(dtype) - old_log_prob[rows].detach().to(dtype)
        log_ratio.clamp_(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        tokens = Tokens(
            rows,
            padding,
            log_ratio,
            log_ratio,
            advantages[rows].detach().to(dtype),
            old_log_prob[rows],
            None if entropy is None else entropy[rows],
            None if old_entropy is None else old_entropy[rows],
        )
        tokens.ratio = tokens.zeroed_(log_ratio).exp()
        yield tokens


def own_precision(like: Tensor) -> AbstractContextManager[Any]:
    """A region in which this module's precision holds: verl calls losses inside ``torch.autocast``."""
    device = like.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def product(tokens: Tokens, weight: Weight) -> Tensor:
    """w·Â per token, exactly 0 at padding."""
    return tokens.zeroed_(weight(tokens).mul_(tokens.advantages))


def row_losses(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weight: Weight,
    *,
    value: Weight | None = None,
    scale: Tensor | None = None,
    entropy: Tensor | None = None,
    old_entropy: Tensor | None = None,
    observe: Callable[[Tokens, Tensor], None] | None = None,
) -> Tensor:
    """Per-sequence loss −Σ_t ℓ·mask·scale, whose gradient with respect to log_prob is −w·Â·mask·scale.

    Sum the rows with any coefficients and call ``backward``: the gradient of token (i, t) is
    −coefficient_i·w·Â·mask·scale, and exactly 0 for masked tokens, whatever they hold (NaN included).

    Args:
        old_log_prob, log_prob, advantages, mask: (batch, response_length), log-probabilities in nats.
        weight: w(tokens), same shape. It owns what it returns (it is multiplied in place).
        value: ℓ(tokens) where a method's value is not w·Â; None: ℓ = w·Â.
        scale: detached per-token factor, e.g. rollout-correction weights, (batch, response_length).
        entropy, old_entropy: (batch, response_length), for losses that need them.
        observe: called with every block and its w·Â, e.g. to count regions while it is in cache.

    Returns:
        (batch,) losses, float32 or float64.

    Raises:
        ValueError: the shapes differ, or are not two-dimensional.
    """
    gradient = torch.empty(
        log_prob.shape, dtype=_working_dtype(old_log_prob, log_prob, advantages), device=log_prob.device
    )
    surrogate = gradient.new_zeros(log_prob.shape[:1])
    with torch.no_grad(), own_precision(log_prob):
        for tokens in blocks(old_log_prob, log_prob, advantages, mask, entropy, old_entropy):
            weighted = product(tokens, weight)
            if observe is not None:
                observe(tokens, weighted)
            gradient[tokens.rows] = _scaled(weighted, scale, tokens)
            per_token = gradient[tokens.rows] if value is None else _valued(value, scale, tokens)
            surrogate[tokens.rows] = per_token.sum(-1)
    return _GivenGradient.apply(log_prob, gradient, surrogate)


class _GivenGradient(torch.autograd.Function):
    """(batch,) values −surrogate, with the given per-token gradient. The gradient is saved, no graph is."""

    @staticmethod
    def forward(ctx: Any, log_prob: Tensor, gradient: Tensor, surrogate: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = log_prob.dtype
        return -surrogate

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, coefficients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * -coefficients[:, None]).to(ctx.dtype), None, None


def _scaled(per_token: Tensor, scale: Tensor | None, tokens: Tokens) -> Tensor:
    if scale is None:
        return per_token
    return (per_token * scale[tokens.rows].detach()).masked_fill_(tokens.padding, 0.0)


def _valued(value: Weight, scale: Tensor | None, tokens: Tokens) -> Tensor:
    return _scaled(value(tokens).masked_fill(tokens.padding, 0.0), scale, tokens)


def _check_shapes(*tensors: Tensor) -> None:
    shapes = [tuple(t.shape) for t in tensors]
    if len(shapes[0]) != 2 or len(set(shapes)) != 1:
        names = "old_log_prob, log_prob, advantages, mask"
        raise ValueError(f"{names} must share one shape (batch, response_length), got {shapes}")


def _working_dtype(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def _row_slices(like: Tensor) -> Iterator[slice]:
    tokens = BLOCK_TOKENS if like.device.type == "cpu" else ACCELERATOR_BLOCK_TOKENS
    step = max(1, tokens // max(1, like.shape[1]))
    return (slice(start, start + step) for start in range(0, like.shape[0], step))

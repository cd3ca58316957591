"""Turn any gradient weight into a loss: ∂loss/∂log π_θ = −w·Â·mask·scale, exactly.

For a ratio-based token-level loss, ∇J = E[w(δ, Â)·Â·∇log π_θ]. So no graph through the ratio is
needed: w·Â is computed without one, kept, and handed to autograd as the gradient. Work goes block by
block (a few rows at a time), so that on a CPU the intermediate tensors stay in its cache and peak
memory is the gradient itself plus one block. Precision is float32 at least, whatever the inputs
(bf16 is widened), float64 if any input is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

Weight = Callable[[Tensor, Tensor], Tensor]
"""w(ratio, advantages) → same shape: a loss's weight function with its parameters bound."""

MAX_LOG_RATIO = 20.0
"""log δ is clamped to ±20 (as verl does) before δ is formed, so δ lies in [2e-9, 4.9e8].

It matters only where w = δ: beyond e^20 on the pessimistic branch the weight stays at e^20 instead of
overflowing, and below e^-20 it is 2e-9 instead of less. The clamp is not differentiated through: the
gradient does not vanish beyond it (in verl's ``vanilla`` it does). Weights that CE-GPPO preserves are
constants and are untouched by it."""

BLOCK_TOKENS = 32_768  # 128 KiB per fp32 tensor: about eight live ones fit a core's second-level cache
ACCELERATOR_BLOCK_TOKENS = 2**24  # one pass; and counts held in fp32 stay exact


class Block(NamedTuple):
    """Some rows of the batch, detached, in at least float32; all tensors (rows, response_length).

    Masked tokens have log_ratio 0, ratio 1 and product 0; their advantages are as given.
    """

    rows: slice
    padding: Tensor
    log_ratio: Tensor
    ratio: Tensor
    advantages: Tensor
    product: Tensor | None
    """w·Â, or None where no weight was given."""


def blocks(
    old_log_prob: Tensor, log_prob: Tensor, advantages: Tensor, mask: Tensor, weight: Weight | None
) -> Iterator[Block]:
    """Walk over a batch block by block, without a graph.

    Args:
        old_log_prob, log_prob, advantages, mask: (batch, response_length); mask 1 or True = counts.
        weight: the weight function, or None when only ratios are wanted.

    Raises:
        ValueError: the shapes differ, or are not two-dimensional.
    """
    _check_shapes(old_log_prob, log_prob, advantages, mask)
    dtype = _working_dtype(old_log_prob, log_prob, advantages)
    for rows in _row_slices(log_prob):
        padding = mask[rows].bool().logical_not()
        log_ratio = log_prob[rows].detach().to(dtype) - old_log_prob[rows].detach().to(dtype)
        log_ratio.clamp_(-MAX_LOG_RATIO, MAX_LOG_RATIO).masked_fill_(padding, 0.0)
        ratio = log_ratio.exp()
        advantage = advantages[rows].detach().to(dtype)
        product = (
            None if weight is None else weight(ratio, advantage).mul_(advantage).masked_fill_(padding, 0.0)
        )
        yield Block(rows, padding, log_ratio, ratio, advantage, product)


def row_losses(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weight: Weight,
    *,
    value: Weight | None = None,
    scale: Tensor | None = None,
    observe: Callable[[Block], None] | None = None,
) -> Tensor:
    """Per-sequence loss −Σ_t ℓ·mask·scale, whose gradient with respect to log_prob is −w·Â·mask·scale.

    Sum the rows with any coefficients and call ``backward``: the gradient of token (i, t) is
    −coefficient_i·w·Â·mask·scale, and exactly 0 for masked tokens, whatever they hold (NaN included).

    Args:
        old_log_prob, log_prob, advantages, mask: (batch, response_length), log-probabilities in nats.
        weight: w(ratio, advantages), same shape. It owns what it returns (it is multiplied in place).
        value: ℓ(ratio, advantages) where a method's value is not w·Â; None: ℓ = w·Â.
        scale: detached per-token factor, e.g. rollout-correction weights, (batch, response_length).
        observe: called with every block, e.g. to count regions while it is in cache.

    Returns:
        (batch,) losses, float32 or float64.

    Raises:
        ValueError: the shapes differ, or are not two-dimensional.
    """
    gradient = torch.empty(
        log_prob.shape, dtype=_working_dtype(old_log_prob, log_prob, advantages), device=log_prob.device
    )
    surrogate = gradient.new_zeros(log_prob.shape[:1])
    with torch.no_grad():
        for block in blocks(old_log_prob, log_prob, advantages, mask, weight):
            assert block.product is not None
            if observe is not None:
                observe(block)
            gradient[block.rows] = _scaled(block.product, scale, block)
            per_token = gradient[block.rows] if value is None else _valued(value, scale, block)
            surrogate[block.rows] = per_token.sum(-1)
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


def _scaled(per_token: Tensor, scale: Tensor | None, block: Block) -> Tensor:
    if scale is None:
        return per_token
    return (per_token * scale[block.rows].detach()).masked_fill_(block.padding, 0.0)


def _valued(value: Weight, scale: Tensor | None, block: Block) -> Tensor:
    return _scaled(value(block.ratio, block.advantages).masked_fill(block.padding, 0.0), scale, block)


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

"""The batches that losses are tried on, and what a loss does to one: its value and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

OLD = -1.25  # log π_old where it does not matter; exact in bf16


class Info(NamedTuple):
    """What verl tells a loss about the whole batch, of which the tensors are a part.

    Args:
        batch_num_tokens: unmasked tokens of all micro-batches of all ranks.
        global_batch_size: sequences of them, those without a token included.
        dp_size: number of data-parallel ranks, whose gradients are averaged.
    """

    batch_num_tokens: int
    global_batch_size: int
    dp_size: int = 1


@dataclass(frozen=True)
class Batch:
    """Inputs of a loss: tensors (rows, response_length), log-probabilities and entropies in nats."""

    old_log_prob: Tensor
    log_prob: Tensor
    advantages: Tensor
    mask: Tensor
    entropy: Tensor
    old_entropy: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with a function applied to every tensor."""
        return Batch(*(function(getattr(self, item.name)) for item in fields(self)))

    def rows(self, part: slice) -> Batch:
        """Some rows."""
        return self.map(lambda t: t[part])

    def to(self, dtype: torch.dtype) -> Batch:
        """Another floating-point precision; the mask stays what it is."""
        return replace(self.map(lambda t: t.to(dtype)), mask=self.mask)

    def with_padding(self, value: float) -> Batch:
        """Everything but the mask replaced by ``value`` where the mask is 0."""
        return replace(self.map(lambda t: t.masked_fill(~self.mask.bool(), value)), mask=self.mask)

    @property
    def info(self) -> Info:
        """This batch as the whole batch."""
        return Info(max(1, int(self.mask.bool().sum())), max(1, len(self.mask)))


class Outcome(NamedTuple):
    """A loss's value, a scalar, and its gradient with respect to log π_θ, (rows, response_length)."""

    loss: Tensor
    gradient: Tensor


def run(loss: Callable[[Batch, Info], Tensor], batch: Batch, info: Info | None = None) -> Outcome:
    """Call a loss and differentiate it. Random choices inside a loss are the same in every call."""
    torch.default_generator.manual_seed(0)  # torch.manual_seed formats a stack trace, 2 ms
    log_prob = batch.log_prob.detach().clone().requires_grad_()
    value = loss(replace(batch, log_prob=log_prob), info or batch.info)
    if not value.requires_grad:  # e.g. a micro-batch without tokens
        return Outcome(value.detach(), torch.zeros_like(log_prob))
    (gradient,) = torch.autograd.grad(value, log_prob, allow_unused=True)
    return Outcome(value.detach(), torch.zeros_like(log_prob) if gradient is None else gradient)


def build(log_ratio: Any, advantages: Any, mask: Any = None, **others: Any) -> Batch:
    """A float64 batch from nested lists or tensors.

    Args:
        log_ratio: log δ; log π_θ = log π_old + log δ. mask: None = every token counts.
        others: old_log_prob (default −1.25), entropy and old_entropy (default 1).
    """
    ratio = _double(log_ratio)
    old = _double(others.get("old_log_prob", OLD)).expand_as(ratio).clone()
    entropies = [
        _double(others.get(name, 1.0)).expand_as(ratio).clone() for name in ("entropy", "old_entropy")
    ]
    live = torch.ones_like(ratio, dtype=torch.bool) if mask is None else torch.as_tensor(mask).bool()
    return Batch(old, old + ratio, _double(advantages).expand_as(ratio).clone(), live, *entropies)


def tokens(log_ratio: Sequence[float], advantages: Sequence[float], **others: Any) -> Batch:
    """Responses of one token each: what a token does alone, for sequence-level methods too."""
    columns = {name: _double(value).expand(len(log_ratio))[:, None] for name, value in others.items()}
    return build(_double(log_ratio)[:, None], _double(advantages)[:, None], **columns)


def random(rows: int = 6, length: int = 40, seed: int = 0, spread: float = 0.5) -> Batch:
    """float64 log-ratios that visit every region, advantages, entropies, and a ragged mask."""
    g = torch.Generator().manual_seed(seed)
    ratio = torch.randn(rows, length, generator=g, dtype=torch.float64) * spread
    advantages = torch.randn(rows, length, generator=g, dtype=torch.float64)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=g)
    mask = torch.arange(length)[None] < lengths
    draws = [torch.rand(rows, length, generator=g, dtype=torch.float64) for _ in range(3)]
    old = -0.1 - 3 * draws[0] - ratio.clamp(min=0)  # no probability above 1
    entropy = 0.5 + draws[1]
    return build(
        ratio,
        advantages,
        mask,
        old_log_prob=old,
        entropy=entropy,
        old_entropy=entropy * (0.9 + 0.2 * draws[2]),
    )


def coefficients(mode: str, mask: Tensor, info: Info) -> Tensor:
    """What verl's reduction ``mode`` multiplies each row's tokens with, (rows, 1)."""
    lengths = mask.bool().sum(-1, keepdim=True).double()
    per_row = torch.full_like(lengths, info.dp_size / info.global_batch_size)
    if mode == "token-mean":
        return torch.full_like(lengths, info.dp_size / info.batch_num_tokens)
    if mode == "token-sum":
        return torch.full_like(lengths, float(info.dp_size))
    if mode == "seq-mean-token-mean":
        return per_row / (lengths + 1e-8)
    return per_row / mask.shape[-1] if mode == "seq-mean-token-sum-norm" else per_row


def _double(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)

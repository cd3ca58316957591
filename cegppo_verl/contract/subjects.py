"""The forms in which a loss may come, made alike: parameters and a batch in, a scalar to be minimised out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cegppo_verl.contract.batch import Batch, Info, Outcome, run
from cegppo_verl.losses import weighted
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.tokens import Tokens

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Expected:
    """What is known about a loss apart from its code.

    Args:
        literal: the surrogate as printed, to be maximised, an ordinary autograd expression,
            ``literal(log_prob, old_log_prob, advantages, mask, **parameters)`` → (rows, response_length).
        worked: by hand: (δ, Â, w, parameters), responses of one token.
        limits: (parameters, name of another loss, its w(ratio, advantages)).
        exceptions: check → why it may fail, where the method or its code is known not to satisfy it.
        own: the exceptions are contract/exceptions.py's. source: where the literal comes from.
    """

    literal: Callable[..., Tensor] | None = None
    worked: tuple[tuple[float, float, float, dict[str, Any]], ...] = ()
    limits: tuple[tuple[dict[str, Any], str, Callable[[Tensor, Tensor], Tensor]], ...] = ()
    exceptions: Mapping[str, str] = field(default_factory=dict)
    own: bool = False
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A loss under test.

    Args:
        name: as it was asked for. form: which form it was recognised as, in words.
        settings: complete parameter settings to try it with, the given one first.
        expected: what is known about it. mode: verl's reduction, for the forms that reduce themselves.
        needs: "entropy" and "old_entropy" where it reads them.
    """

    name: str
    settings: tuple[dict[str, Any], ...]
    expected: Expected = Expected()
    mode: str = "token-mean"
    needs: frozenset[str] = frozenset()
    form: str = ""
    loss: Loss | None = None

    def total(self, batch: Batch, values: Values, info: Info) -> Tensor:
        """The scalar to be minimised, reduced by ``mode`` over the whole batch that ``info`` describes."""
        raise NotImplementedError

    def run(self, batch: Batch, values: Values, info: Info | None = None) -> Outcome:
        """Value and gradient."""
        return run(lambda part, whole: self.total(part, values, whole), batch, info)

    def varied(self, values: dict[str, Any], factor: float) -> dict[str, Any]:
        """Parameters near ``values``, or ``values`` where the form does not know what is allowed."""
        return values

    def agreed(self, parts: list[Batch], values: dict[str, Any]) -> dict[str, Any]:
        """The parameters in force for a mini-batch in parts; the same unless they are statistics."""
        return values


@dataclass(frozen=True, kw_only=True)
class LossObject(Subject):
    """A :class:`~cegppo_verl.losses.loss.Loss`, run as the adapter to verl runs it."""

    form: str = "Loss object (gradient weight)"

    def total(self, batch: Batch, values: Values, info: Info) -> Tensor:
        """Token-mean of the row losses, plus the auxiliary term."""
        loss = self.checked
        params = loss.params(**values)
        entropies = {name: getattr(batch, name) for name in loss.needs}
        bound = None if loss.value is None else (lambda t: loss.value(t, params))  # type: ignore[misc]
        inputs = (batch.old_log_prob, batch.log_prob, batch.advantages, batch.mask)
        rows = weighted.row_losses(*inputs, loss.bound(params), value=bound, **entropies)
        total = rows.sum() / info.batch_num_tokens * info.dp_size
        if loss.auxiliary is None:
            return total
        return total + loss.auxiliary(batch.log_prob, batch.advantages, batch.mask, params)

    @property
    def checked(self) -> Loss:
        """The loss."""
        assert self.loss is not None
        return self.loss

    def varied(self, values: dict[str, Any], factor: float) -> dict[str, Any]:
        """Every number times ``factor``, where that is within the ranges."""
        scaled = {k: v * factor if isinstance(v, float) else v for k, v in values.items()}
        try:
            self.checked.params(**scaled)
        except ValueError:
            return values
        return scaled

    def agreed(self, parts: list[Batch], values: dict[str, Any]) -> dict[str, Any]:
        """With statistics: their sums over all parts decide."""
        loss = self.checked
        if loss.statistics is None:
            return values
        params, totals = loss.params(**values), torch.zeros(())
        for part in parts:
            for tokens in blocks(part, loss):
                totals = totals + loss.statistics.collect(tokens, params)
        return values | dict(loss.statistics.decide(totals.tolist(), params))


def blocks(part: Batch, loss: Loss) -> Iterator[Tokens]:
    """A batch as the loss's functions see it, block by block."""
    entropies = {name: getattr(part, name) for name in loss.needs}
    return weighted.blocks(part.old_log_prob, part.log_prob, part.advantages, part.mask, **entropies)


@dataclass(frozen=True, kw_only=True)
class PerToken(Subject):
    """(old_log_prob, log_prob, advantages, mask, **hyper) → per-token loss to be minimised."""

    function: Callable[..., Tensor]
    mask_name: str = "mask"
    form: str = "per-token function"

    def total(self, batch: Batch, values: Values, info: Info) -> Tensor:
        """Token-mean over what the function returns where the mask is 1."""
        tensors = {
            "old_log_prob": batch.old_log_prob,
            "log_prob": batch.log_prob,
            "advantages": batch.advantages,
        }
        entropies = {name: getattr(batch, name) for name in self.needs}
        per_token = self.function(**tensors, **{self.mask_name: batch.mask}, **entropies, **values)
        if per_token.shape != batch.mask.shape:
            shapes = f"{tuple(per_token.shape)}, expected {tuple(batch.mask.shape)}"
            raise ValueError(f"the loss returned the shape {shapes} (batch, response_length)")
        live = torch.where(batch.mask.bool(), per_token, torch.zeros_like(per_token))
        return live.sum() / info.batch_num_tokens * info.dp_size

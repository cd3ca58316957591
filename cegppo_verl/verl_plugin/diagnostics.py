"""The counts of an update as verl metrics which keep their meaning through verl's aggregation.

What is counted: verl_plugin/anatomy.py. The names are ``actor/anatomy/<count>``; the prefix ``actor/`` is
there because verl's trainer would add it anyway. No name contains "max" or "min", which verl would take for
a rule.

What a reader gets. verl 0.9.1 combines a metric in three steps: over data-parallel ranks by mean and over
the micro-batches of a mini-batch by the metric's own rule (``Metric.aggregate_dp``), then over mini-batches
and epochs by mean (``reduce_metrics``). With the rule SUM, as here, a logged count is the total divided by
(dp ranks × mini-batches × epochs): one common factor for all counts of a step. So **count / count is the
exact ratio of sums over every token of the step**, however unequal the micro-batches are. With verl's rule
for loss metrics, MEAN, each mini-batch would be divided by its own number of micro-batches, and the ratio
would be biased under dynamic batch sizes.

verl forces MEAN on whatever a loss returns (``Metric.from_dict``) and raises on a metric that already has
another rule; :func:`keep_sums` turns that error into "keep it". Nothing that worked before changes.

No waiting for an accelerator inside the loss: ``Metric`` calls ``.item()`` when a tensor is put into it, so
the tensors go into :class:`Deferred` metrics instead, whose numbers come over together, in one transfer, when
verl first looks at one. That is when it gathers the metrics, after the micro-batches have been queued.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from verl.utils.metric import AggregationType, Metric

from cegppo_verl.verl_plugin.anatomy import Anatomy

__all__ = ["Anatomy", "Deferred", "as_metrics", "clip_metrics", "keep_sums"]

PREFIX = "actor/anatomy/"
Totals = Mapping[str, float | Tensor]


def as_metrics(totals: Totals) -> dict[str, Metric]:
    """The counts of :meth:`Anatomy.read` as verl metrics which are summed over micro-batches."""
    return _metrics(AggregationType.SUM, {PREFIX + name: total for name, total in totals.items()})


def clip_metrics(totals: Totals) -> dict[str, Any]:
    """verl's own three metrics of ``vanilla``, from the counts: same names, same definitions.

    pg_clipfrac: share of tokens in neg_below or pos_above. pg_clipfrac_lower: share that the dual clip
    drops. ppo_kl: mean of −log δ in nats, log δ clamped to ±20.
    """
    tokens = totals["tokens"]
    tokens = tokens.clamp(min=1.0) if isinstance(tokens, Tensor) else max(tokens, 1.0)
    fractions = {
        "actor/pg_clipfrac": (totals["neg_below"] + totals["pos_above"]) / tokens,
        "actor/ppo_kl": totals["k1"] / tokens,
        "actor/pg_clipfrac_lower": totals.get("dual_clipped", 0.0) / tokens,
    }
    if not any(isinstance(value, Tensor) for value in fractions.values()):
        return fractions
    return _metrics(AggregationType.MEAN, fractions)  # verl's rule for them


def keep_sums() -> None:
    """Let ``Metric.from_dict`` keep metrics that already carry their rule (verl 0.9.1 raises on them)."""
    if getattr(Metric, "_cegppo_keeps_sums", False):
        return

    def from_dict(cls: type[Metric], data: dict[str, Any], aggregation: Any) -> dict[str, Metric]:
        return {
            k: v if isinstance(v, Metric) else cls(value=v, aggregation=aggregation) for k, v in data.items()
        }

    Metric.from_dict = classmethod(from_dict)
    Metric._cegppo_keeps_sums = True


class Deferred(Metric):
    """A metric of one value that is still on an accelerator; it becomes an ordinary one when pickled."""

    def __init__(self, aggregation: AggregationType, transfer: Transfer, place: int) -> None:
        self.aggregation = aggregation
        self._transfer, self._place = transfer, place
        self._values: list[float] | None = None

    @property
    def values(self) -> list[float]:
        """The value as verl keeps it; the first look at one of them fetches all."""
        if self._values is None:
            self._values = [self._transfer.numbers()[self._place]]
        return self._values

    def __reduce__(self) -> tuple[type[Metric], tuple[AggregationType, float]]:
        return Metric, (self.aggregation, self.values[0])


class Transfer:
    """Values on an accelerator, (n,), brought to the host once."""

    def __init__(self, values: Tensor) -> None:
        self._values: Tensor | None = values
        self._numbers: list[float] = []

    def numbers(self) -> list[float]:
        """The values; the first call waits for the device."""
        if self._values is not None:
            self._numbers, self._values = self._values.tolist(), None
        return self._numbers


def _metrics(aggregation: AggregationType, values: Totals) -> dict[str, Metric]:
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    found = {name: Metric(aggregation, value) for name, value in values.items() if name not in tensors}
    if tensors:
        transfer = Transfer(torch.stack(list(tensors.values())))
        found |= {name: Deferred(aggregation, transfer, place) for place, name in enumerate(tensors)}
    return {name: found[name] for name in values}

"""The anatomy of an update: how many tokens lie in which region, and how much gradient weight they carry.

Every policy loss that this plugin registers or wraps returns the same *counts*, never fractions:

    actor/anatomy/tokens               tokens in the loss (response mask)
    actor/anatomy/<region>             tokens per region of losses/regions.py (neg_below, pos_above,
                                       neg_above, pos_below, inside)
    actor/anatomy/weight_abs           Σ |w·Â| over the tokens, w before rollout-correction weights
    actor/anatomy/weight_abs_outside   the part of it outside the interval [1 − ε_low, 1 + ε_high]
    actor/anatomy/updates              micro-batches: 1 per call of the loss

tokens − Σ regions = tokens with Â = 0 outside the interval (groups of zero variance). The two sums are
absent, not 0, for a verl loss whose weight function is unknown here.

What a reader gets. verl 0.9.1 combines a metric in three steps: over data-parallel ranks by mean and over
the micro-batches of a mini-batch by the metric's own rule (``Metric.aggregate_dp``), then over mini-batches
and epochs by mean (``reduce_metrics``). With the rule SUM, as here, a logged count is the total divided by
(dp ranks × mini-batches × epochs): one common factor for all counts of a step. So **count / count is the
exact ratio of sums over every token of the step**, however unequal the micro-batches are. With verl's rule
for loss metrics, MEAN, each mini-batch would be divided by its own number of micro-batches, and the ratio
would be biased under dynamic batch sizes.

verl forces MEAN on whatever a loss returns (``Metric.from_dict``) and raises on a metric that already has
another rule; :func:`keep_sums` turns that error into "keep it". Nothing that worked before changes.
The prefix ``actor/`` is there because verl's trainer would add it anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from verl.utils.metric import AggregationType, Metric

from cegppo_verl.losses import regions
from cegppo_verl.losses.loss import Interval
from cegppo_verl.losses.tokens import Tokens

PREFIX = "actor/anatomy/"
_COUNTS = (*regions.NAMES, "dual_clipped", "log_ratio", "weight_abs", "weight_abs_outside")


class Anatomy:
    """Accumulates counts block by block on the tensors' device; one transfer to the host at the end.

    Args:
        interval: the clip interval to count by. At level "sequence" a token lies where its response's
            length-normalised ratio exp(mean log δ) lies.
    """

    def __init__(self, interval: Interval) -> None:
        self.interval = interval
        self._rows: list[Tensor] = []
        self._weighted = True
        self._places = 0

    @torch.no_grad()
    def observe(self, tokens: Tokens, product: Tensor | None) -> None:
        """Count one block, tensors (rows, response_length).

        Args:
            product: w·Â, exactly 0 at padding; None where the weight is unknown.
        """
        ratio, advantages, interval = self._ratio(tokens), tokens.advantages, self.interval
        by_region = (
            regions.neg_below(ratio, advantages, interval.epsilon_low).sum(),
            regions.pos_above(ratio, advantages, interval.epsilon_high).sum(),
            regions.neg_above(ratio, advantages, interval.epsilon_high).sum(),
            regions.pos_below(ratio, advantages, interval.epsilon_low).sum(),
        )
        within = regions.inside(ratio, interval.epsilon_low, interval.epsilon_high)
        self._places += ratio.numel()
        sums = self._sums(ratio, tokens, product, within)
        self._rows.append(torch.stack([*by_region, within.sum(), *sums]))

    def _ratio(self, tokens: Tokens) -> Tensor:
        """The ratio that the interval bounds, 1 at padding."""
        if self.interval.level == "token":
            return tokens.ratio
        return tokens.mean_log_ratio.exp().expand_as(tokens.ratio).masked_fill(tokens.padding, 1.0)

    def _sums(
        self, ratio: Tensor, tokens: Tokens, product: Tensor | None, within: Tensor
    ) -> tuple[Tensor, ...]:
        clipped = zero = ratio.new_zeros(())
        if self.interval.dual_clip is not None:
            clipped = regions.dual_clipped(ratio, tokens.advantages, self.interval.dual_clip).sum()
        log_ratio = tokens.log_ratio.sum()
        if product is None:
            self._weighted = False
            return clipped, log_ratio, zero, zero
        size = product.abs()
        outside = torch.addcmul(size, size, within, value=-1.0)  # exactly 0 within, no cancellation
        return clipped, log_ratio, size.sum(), outside.sum()

    def read(self, tokens: Tensor) -> dict[str, float]:
        """The totals as Python numbers, and with them the only synchronisation with the device.

        Args:
            tokens: 0-dimensional, the number of unmasked tokens.
        """
        rows = self._rows or [tokens.new_zeros(len(_COUNTS))]
        sums = torch.stack(rows).double().sum(0)
        *counts, n = torch.cat([sums, tokens.detach().double().reshape(1)]).tolist()
        totals = dict(zip(_COUNTS, counts, strict=True)) | {"tokens": n, "updates": 1.0}
        totals["inside"] -= self._places - n  # masked tokens have ratio 1, hence were counted as inside
        known = self._weighted
        return {key: total for key, total in totals.items() if known or not key.startswith("weight_abs")}


def as_metrics(totals: dict[str, float]) -> dict[str, Metric]:
    """The public counts of :meth:`Anatomy.read` as verl metrics which are summed over micro-batches."""
    public = (*regions.NAMES, "tokens", "weight_abs", "weight_abs_outside", "updates")
    return {PREFIX + k: Metric(AggregationType.SUM, totals[k]) for k in public if k in totals}


def clip_metrics(totals: dict[str, float]) -> dict[str, float]:
    """verl's own three metrics of ``vanilla``, from the counts: same names, same definitions.

    pg_clipfrac: share of tokens in neg_below or pos_above. pg_clipfrac_lower: share that the dual clip
    drops. ppo_kl: mean of −log δ in nats, log δ clamped to ±20.
    """
    tokens = max(totals["tokens"], 1.0)
    return {
        "actor/pg_clipfrac": (totals["neg_below"] + totals["pos_above"]) / tokens,
        "actor/ppo_kl": -totals["log_ratio"] / tokens,
        "actor/pg_clipfrac_lower": totals["dual_clipped"] / tokens,
    }


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

"""The loss of a micro-batch: one of ``cegppo_verl.losses``, reduced as verl would, and counted.

verl's adapter (verl_plugin/policy_loss.py) does the same around verl's calls; a test holds the two gradients
to each other. Methods that are verl's own code in a verl run are computed here from the gradient weight that
their entry states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from cegppo_verl.losses import weighted
from cegppo_verl.losses.loss import Loss
from cegppo_verl.reference.reduction import reduce_rows
from cegppo_verl.verl_plugin.anatomy import Anatomy


@dataclass(frozen=True)
class Batch:
    """Responses with what a loss needs of them; tensors (rows, response length).

    Attributes:
        ids, mask, old_log_prob, old_entropy: of the rollouts. advantages: one value per response, spread out.
    """

    ids: Tensor
    mask: Tensor
    old_log_prob: Tensor
    old_entropy: Tensor
    advantages: Tensor

    def rows(self, part: slice) -> Batch:
        """Some of the rows, as wide as their longest response."""
        width = int(self.mask[part].sum(-1).max())
        return Batch(*(getattr(self, name)[part, :width] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Objective:
    """A loss with its parameters in force.

    Attributes:
        mode: verl's loss_agg_mode. width: longest response allowed.
        entropy_coeff: weight of an entropy bonus.
    """

    loss: Loss
    params: Any
    mode: str
    entropy_coeff: float
    width: int

    def with_values(self, values: dict[str, float]) -> Objective:
        """With parameters that were decided meanwhile (by a schedule, a controller or statistics)."""
        coeff = values.get("entropy_coeff", self.entropy_coeff)
        return replace(self, params=replace(self.params, **values), entropy_coeff=coeff) if values else self

    def __call__(
        self, part: Batch, whole: Batch, log_prob: Tensor, entropy: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The micro-batch's loss, to call ``backward`` on, and the anatomy's sums over its tokens.

        Args:
            part: a micro-batch of the mini-batch ``whole``.
            log_prob, entropy: under π_θ, nats, attached to the graph, of part's shape.
        """
        mask = self._mask(part)
        anatomy = Anatomy(self.loss.interval(self.params))
        rows = weighted.row_losses(
            part.old_log_prob,
            log_prob,
            part.advantages,
            mask,
            self.loss.bound(self.params),
            value=self.loss.bound_value(self.params),
            entropy=entropy,
            old_entropy=part.old_entropy,
            observe=anatomy.observe,
        )
        total = self._reduced(rows, mask, self._mask(whole))
        if self.loss.auxiliary is not None:
            total = total + self.loss.auxiliary(log_prob, part.advantages, mask, self.params)
        if self.loss.reduction == "micro-batch":
            total = total * (len(rows) / len(whole.mask))
        return total - self._bonus(entropy, part, whole), anatomy.read(mask.sum())

    def _mask(self, batch: Batch) -> Tensor:
        """Which tokens count, without groups that teach nothing where the method leaves them out."""
        if not self.loss.group_filter:
            return batch.mask
        return batch.mask & (batch.mask & (batch.advantages != 0)).any(-1, keepdim=True)

    def _reduced(self, rows: Tensor, mask: Tensor, whole: Tensor) -> Tensor:
        among = whole if self.loss.reduction == "global" else mask
        return reduce_rows(rows, mask.sum(-1), among.sum(-1), self.mode, self.width)

    def _bonus(self, entropy: Tensor, part: Batch, whole: Batch) -> Tensor | float:
        if not self.entropy_coeff:
            return 0.0
        rows = (entropy * part.mask).sum(-1)
        mean = reduce_rows(rows, part.mask.sum(-1), whole.mask.sum(-1), self.mode, self.width)
        return self.entropy_coeff * mean

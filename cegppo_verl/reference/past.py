"""What a policy has read so far, so that continuations of a prompt share its keys and values."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from cegppo_verl.toy.model import Parameters, forward


@dataclass
class Past:
    """Keys and values by layer, each (batch, heads, length, HEAD_DIM); differentiable if the weights are."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens read, the same number in every row."""
        return self.keys[0].shape[2] if self.keys else 0

    def repeated(self, times: int) -> Past:
        """Every row ``times`` times, side by side: rollouts of one prompt."""
        keys, values = ([t.repeat_interleave(times, 0) for t in part] for part in (self.keys, self.values))
        return Past(keys, values)

    def read(self, weights: Parameters, ids: Tensor) -> Tensor:
        """Read (batch, length) further ids; returns the logits after each, (batch, length, VOCAB_SIZE)."""
        return forward(weights, ids, start=self.length, attend=self._attend)

    def _attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if layer == len(self.keys):
            self.keys.append(k)
            self.values.append(v)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], k], 2)
            self.values[layer] = torch.cat([self.values[layer], v], 2)
        known, new = self.keys[layer].shape[2], q.shape[2]
        seen = torch.ones(new, known, dtype=torch.bool).tril(known - new)
        return functional.scaled_dot_product_attention(q, self.keys[layer], self.values[layer], seen)

"""The losses of this project, by name. To add one: its file, its line here, its row in the tests.

Losses that verl has (GRPO and DAPO are its ``vanilla``) are not listed: verl's own code runs for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from cegppo_verl.losses import cegppo


class Loss(NamedTuple):
    """A loss as its gradient weight: ``params(**hyper)`` and ``weight(ratio, advantages, params)``."""

    params: type[Any]
    weight: Callable[[Tensor, Tensor, Any], Tensor]

    def bound(self, params: Any) -> Callable[[Tensor, Tensor], Tensor]:
        """w(ratio, advantages) with these parameters."""
        return lambda ratio, advantages: self.weight(ratio, advantages, params)


LOSSES: dict[str, Loss] = {
    "cegppo": Loss(cegppo.Params, cegppo.weight),
}

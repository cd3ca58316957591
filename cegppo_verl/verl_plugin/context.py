"""What a loss gets to know beyond verl's signature, around each of its calls.

verl calls a policy loss with log-probabilities, advantages and a mask; it sees no entropy, no step and no
other micro-batch. One mechanism supplies all of that:

1. driver_hooks: before the updates of a step, the driver's controller decides the values of parameters that
   vary (schedules, feedback) and sends them to every rank as part of the batch.
2. worker_hooks: before each mini-batch, totals over all its micro-batches and ranks set further parameters
   (losses with ``statistics``), and around each micro-batch the per-token entropies are laid out here.
3. policy_loss: the adapter reads :func:`current`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

VALUES = "cegppo_values"  # key of the batch under which the parameters' values travel, as JSON
LOGGED = "actor/control/"  # prefix of the metrics that say which values were in force


@dataclass(frozen=True)
class Context:
    """The side inputs of one call of a loss.

    Args:
        values: parameters whose value is not the configuration's, by name.
        entropy, old_entropy: of π_θ and π_old per token, nats, (batch, response_length); None: not asked for.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    entropy: Tensor | None = None
    old_entropy: Tensor | None = None


_current: ContextVar[Context] = ContextVar("cegppo_context")


def current() -> Context | None:
    """The context of the running call; None outside of one, e.g. where the hooks are not in place."""
    return _current.get(None)


@contextlib.contextmanager
def use(context: Context) -> Iterator[None]:
    """Make ``context`` the current one."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)

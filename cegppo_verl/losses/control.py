"""Parameters that change during a run: schedules over the training step, and feedback controllers.

A controller lives in the trainer's driver process, once per run. Before the updates of a training step it
sees one :class:`Observation` and says which of the loss's parameters have which values during that step.
The plugin sends those numbers to every rank with the batch, logs them, and keeps the state beside each
checkpoint. So all ranks and micro-batches agree by construction, and a resumed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

State = dict[str, float]


class Observation(NamedTuple):
    """What the driver knows before the updates of a training step.

    Args:
        step: the trainer's global step, 1 for the first. total_steps: how many are planned.
        entropy: of π_old, in nats, mean over all response tokens of the rollout batch; None when it was not
            measured.
    """

    step: int
    total_steps: int
    entropy: float | None = None


class Controller(Protocol):
    """Maps (state, observation) to (next state, parameter values). Pure: everything it remembers is State."""

    observes_entropy: bool

    def start(self) -> State:
        """The state before the first step. Plain numbers: it is stored as JSON."""
        ...

    def advance(self, state: State, seen: Observation) -> tuple[State, Mapping[str, float]]:
        """The state after this step, and the values of the parameters that the controller sets, by name."""
        ...

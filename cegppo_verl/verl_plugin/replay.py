"""verl's replay buffer without its two-second naps.

verl 0.9.1 polls TransferQueue every 2 s and offers no configuration key, so on a small model every step waits
up to two seconds for rollouts that are already there. Name this class in
``trainer.v1.sampler.custom_sampler.{path,name}``. verl then passes no ``filter_groups`` arguments, so it must
not be used together with DAPO's dynamic sampling.
"""

from __future__ import annotations

from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

POLL_SECONDS = 0.05


class FastReplayBuffer(ReplayBuffer):
    """:class:`verl.trainer.ppo.v1.replay_buffer.ReplayBuffer` polling every 50 ms."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "poll_interval": POLL_SECONDS})

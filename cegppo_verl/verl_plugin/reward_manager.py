"""verl's plain reward manager, which also tells the reward function how many tokens a response has.

Selected by ``reward.reward_manager.source=importlib``, ``.name=CountingRewardManager`` and
``.module.path=<this file>``. verl's ``DAPORewardManager`` could shape lengths itself, but with
``overlong_buffer_cfg.log`` (0.9.1) it puts tensors into the samples' extra fields, and its constants would
stand apart from those of the reward function.
"""

from __future__ import annotations

import numpy as np
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

TOKENS = "response_tokens"


class CountingRewardManager(NaiveRewardManager):
    """Adds ``extra_info["response_tokens"]``: tokens of the response, its end-of-sequence included."""

    async def run_single(self, data: DataProto) -> dict:
        """Score the last row of ``data``, as verl does; other rows are earlier parts of the same answer."""
        data = data[-1:]
        row = np.empty(1, dtype=object)
        row[0] = {**(data.non_tensor_batch.get("extra_info", [None])[0] or {}), TOKENS: tokens(data)}
        data.non_tensor_batch["extra_info"] = row
        return await super().run_single(data)


def tokens(data: DataProto) -> int:
    """Tokens of the only row's response, without padding."""
    width = data.batch["responses"].shape[-1]
    return int(data.batch["attention_mask"][0, -width:].sum())

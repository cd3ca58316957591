"""The losses by name. To add one: its file, its line here, its row in tests/losses/rows.py.

Nothing here imports torch; the files of the losses name its types for the type checker only.
"""

from __future__ import annotations

from cegppo_verl.losses import cegppo, ppo_clip
from cegppo_verl.losses.loss import Loss

LOSSES: dict[str, Loss] = {
    "grpo": ppo_clip.GRPO,
    "dapo": ppo_clip.DAPO,
    "cegppo": cegppo.LOSS,
}

"""The losses by name. To add one: its file, its line here, its row in tests/losses/rows.py.

Nothing here imports torch; the files of the losses name its types for the type checker only.
"""

from __future__ import annotations

from cegppo_verl.losses import (
    cegppo,
    cispo,
    clip_cov,
    dppo,
    dro,
    geo_mean,
    gpg,
    gspo,
    kl_cov,
    ppo_clip,
    sapo,
)
from cegppo_verl.losses.loss import Loss

LOSSES: dict[str, Loss] = {
    "grpo": ppo_clip.GRPO,
    "dapo": ppo_clip.DAPO,
    "gspo": gspo.LOSS,
    "sapo": sapo.LOSS,
    "gpg": gpg.LOSS,
    "cispo": cispo.LOSS,
    "dppo_tv": dppo.TV,
    "dppo_kl": dppo.KL,
    "geo_mean": geo_mean.LOSS,
    "clip_cov": clip_cov.LOSS,
    "kl_cov": kl_cov.LOSS,
    "dro": dro.LOSS,
    "cegppo": cegppo.LOSS,
}

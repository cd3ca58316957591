"""The losses by name. To add one: its file, its line here, its row in tests/losses/rows.py.

Nothing here imports torch; the files of the losses name its types for the type checker only.
"""

from __future__ import annotations

from cegppo_verl.losses import (
    aspo,
    bapo,
    cegppo,
    cegppo_released,
    cfpo,
    cispo,
    clip_cov,
    dcpo,
    dgpo,
    dispo,
    dppo,
    dro,
    erc,
    fipo,
    geo_mean,
    gpg,
    gppo,
    gspo,
    kl_cov,
    maspo,
    ppo_clip,
    sapo,
    sapo_gates,
    topr,
    vespo,
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
    "cegppo_released": cegppo_released.LOSS,
    "gppo": gppo.LOSS,
    "aspo": aspo.LOSS,
    "dispo": dispo.LOSS,
    "dgpo": dgpo.LOSS,
    "topr": topr.LOSS,
    "cfpo": cfpo.LOSS,
    "bapo": bapo.LOSS,
    "erc": erc.LOSS,
    "maspo": maspo.LOSS,
    "sapo_gaussian": sapo_gates.GAUSSIAN,
    "sapo_cauchy": sapo_gates.CAUCHY,
    "sapo_student": sapo_gates.STUDENT,
    "sapo_softsign": sapo_gates.SOFTSIGN,
    "dcpo": dcpo.LOSS,
    "vespo": vespo.LOSS,
    "fipo": fipo.LOSS,
}

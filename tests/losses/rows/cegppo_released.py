"""CE-GPPO as released: Eq. 8 with a dual clip of 10 (its NLL term: test_soft_losses.py)."""

import torch
from losses.rows import Row

SMALL = {"beta1": 0.5, "beta2": 1.0}
LARGE = {"beta1": 0.75, "beta2": 1.0}
LOPSIDED = {
    "beta1": 0.3,
    "beta2": 0.7,
    "epsilon_low": 0.1,
    "epsilon_high": 0.4,
    "dual_clip": 3.0,
    "positive_loss_coeff": 0.05,
}


def literal(
    log_prob,
    old_log_prob,
    advantages,
    mask,
    *,
    beta1,
    beta2,
    epsilon_low=0.2,
    epsilon_high=0.2,
    dual_clip=10.0,
    positive_loss_coeff=0.1,
):
    ratio = (log_prob - old_log_prob).exp()
    sg, low, high = ratio.detach(), 1 - epsilon_low, 1 + epsilon_high
    kept = torch.where((ratio < low) & (advantages < 0), beta1 * low * ratio / sg, ratio)
    kept = torch.where((ratio > high) & (advantages > 0), beta2 * high * ratio / sg, kept)
    loss, floor = -advantages * kept, -advantages * dual_clip
    return -torch.where(advantages < 0, torch.minimum(floor, loss), loss)


def ppo_with_dual_clip(ratio, advantages):
    clipped = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.2) & (advantages > 0))
    return ratio.masked_fill(clipped | ((ratio > 10.0) & (advantages < 0)), 0.0)


ROW = Row(
    literal=literal,
    parameters=(SMALL, LARGE, LOPSIDED),
    worked=(
        (0.5, -1.0, 0.40, SMALL),
        (0.01, -1.0, 0.60, LARGE),
        (5.0, 1.0, 1.20, SMALL),
        (0.1, 1.0, 0.10, SMALL),
        (9.0, -1.0, 9.0, SMALL),
        (11.0, -1.0, 0.0, SMALL),
        (0.1, -1.0, 0.27, LOPSIDED),
        (5.0, 1.0, 0.98, LOPSIDED),
        (3.5, -1.0, 0.0, LOPSIDED),
    ),
    limits=(({"beta1": 0.0, "beta2": 0.0}, "PPO-clip with c = 10", ppo_with_dual_clip),),
)

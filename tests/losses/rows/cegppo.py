"""CE-GPPO, arXiv 2509.20712, Eq. 8."""

import torch
from losses.rows import Row

PAPER = {"beta1": 0.5, "beta2": 1.0, "epsilon_low": 0.2, "epsilon_high": 0.2}
LOPSIDED = {"beta1": 0.3, "beta2": 0.7, "epsilon_low": 0.1, "epsilon_high": 0.4}


def literal(
    log_prob, old_log_prob, advantages, mask, *, beta1, beta2, epsilon_low, epsilon_high, dual_clip=None
):
    ratio = (log_prob - old_log_prob).exp()
    sg = ratio.detach()
    low, high = 1 - epsilon_low, 1 + epsilon_high
    objective = torch.where((ratio < low) & (advantages < 0), beta1 * low / sg * ratio, ratio)
    objective = torch.where((ratio > high) & (advantages > 0), beta2 * high / sg * ratio, objective)
    objective = objective * advantages
    if dual_clip is None:
        return objective
    return torch.where((advantages < 0) & (ratio > dual_clip), 0 * objective, objective)


def ppo_clip(ratio, advantages):
    clipped = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.28) & (advantages > 0))
    return ratio.masked_fill(clipped, 0.0)


def gppo(ratio, advantages):
    return torch.where(advantages > 0, ratio.clamp(max=1.28), ratio.clamp(min=0.8))


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED, {**LOPSIDED, "dual_clip": 3.0}),
    worked=(
        (0.5, -1.0, 0.40, PAPER),
        (0.1, -1.0, 0.40, PAPER),
        (0.01, -1.0, 0.40, PAPER),
        (2.0, 1.0, 1.20, PAPER),
        (5.0, 1.0, 1.20, PAPER),
        (50.0, -1.0, 50.0, PAPER),
        (0.01, 1.0, 0.01, PAPER),
        (11.0, -1.0, 0.0, {**PAPER, "dual_clip": 10.0}),
        (9.0, -1.0, 9.0, {**PAPER, "dual_clip": 10.0}),
    ),
    limits=(
        ({"beta1": 0.0, "beta2": 0.0, "epsilon_low": 0.2, "epsilon_high": 0.28}, "PPO-clip", ppo_clip),
        ({"beta1": 1.0, "beta2": 1.0, "epsilon_low": 0.2, "epsilon_high": 0.28}, "GPPO", gppo),
    ),
)

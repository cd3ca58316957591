"""Adaptive entropy coefficient (arXiv 2505.22312): PPO-clip; the bonus is not part of the surrogate of Â."""

import torch
from losses.rows import Row, cegppo

PAPER = {"target": 0.2, "epsilon_low": 0.2, "epsilon_high": 0.2}
LOPSIDED = {
    **{"target": 0.35, "entropy_coeff": 2e-3, "coeff_step": 3e-4, "coeff_max": 4e-3},
    **{"epsilon_low": 0.1, "epsilon_high": 0.4, "dual_clip": 3.0},
}


def literal(
    log_prob, old_log_prob, advantages, mask, *, epsilon_low, epsilon_high, dual_clip=None, **control
):
    ratio = (log_prob - old_log_prob).exp()
    clipped = torch.where(ratio < 1 - epsilon_low, 1 - epsilon_low, ratio)
    clipped = torch.where(ratio > 1 + epsilon_high, 1 + epsilon_high, clipped)
    objective = torch.minimum(ratio * advantages, clipped * advantages)
    if dual_clip is None:
        return objective
    return torch.where((advantages < 0) & (ratio > dual_clip), dual_clip * advantages, objective)


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED),
    worked=(
        (1.1, 1.0, 1.1, PAPER),
        (1.3, 1.0, 0.0, PAPER),
        (1.3, -1.0, 1.3, PAPER),
        (0.7, -1.0, 0.0, PAPER),
        (0.7, 1.0, 0.7, PAPER),
        (100.0, -1.0, 100.0, PAPER),
        (4.0, -1.0, 0.0, LOPSIDED),
    ),
    limits=(({**PAPER, "epsilon_high": 0.28}, "PPO-clip", cegppo.ppo_clip),),
)

"""BAPO, arXiv 2510.18927: PPO-clip with the bounds as given (the search for them has tests of its own)."""

import torch
from losses.rows import Row

PAPER = {"c_low": 0.6, "c_high": 1.2}
LOPSIDED = {"c_low": 0.7, "c_high": 2.3, "dual_clip": 4.0}
SEARCH = {
    "c_low": 0.5,
    "c_low_max": 0.8,
    "c_high": 1.1,
    "c_high_max": 1.9,
    "step_low": 0.1,
    "step_high": 0.2,
    "target": 0.7,
}


def literal(log_prob, old_log_prob, advantages, mask, *, c_low, c_high, dual_clip=None, **search):
    ratio = (log_prob - old_log_prob).exp()
    objective = torch.minimum(ratio * advantages, torch.clamp(ratio, c_low, c_high) * advantages)
    if dual_clip is None:
        return objective
    return torch.where(advantages < 0, torch.maximum(objective, dual_clip * advantages), objective)


def ppo_clip(ratio, advantages):
    clipped = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.28) & (advantages > 0))
    return ratio.masked_fill(clipped, 0.0)


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED, SEARCH, {**SEARCH, "search": "code"}),
    worked=(
        (0.59, -1.0, 0.0, PAPER),
        (0.61, -1.0, 0.61, PAPER),
        (1.19, 1.0, 1.19, PAPER),
        (1.21, 1.0, 0.0, PAPER),
        (0.1, 1.0, 0.1, PAPER),
        (50.0, -1.0, 50.0, PAPER),
        (2.2, 1.0, 2.2, LOPSIDED),
        (2.4, 1.0, 0.0, LOPSIDED),
        (4.1, -1.0, 0.0, LOPSIDED),
    ),
    limits=(({"c_low": 0.8, "c_high": 1.28}, "PPO-clip", ppo_clip),),
)

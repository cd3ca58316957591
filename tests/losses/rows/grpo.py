"""PPO-clip with verl's dual clip, arXiv 1707.06347, Eq. 7 and arXiv 1912.09729, Eq. 5."""

import torch
from losses.rows import Row

PAPER = {"epsilon": 0.2, "dual_clip": 3.0}
DISARMED = {"epsilon": 0.2, "dual_clip": 1e9}


def ppo(log_prob, old_log_prob, advantages, low, high, dual_clip):
    ratio = (log_prob - old_log_prob).exp()
    objective = torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    return torch.where(advantages < 0, torch.maximum(objective, dual_clip * advantages), objective)


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon, dual_clip):
    return ppo(log_prob, old_log_prob, advantages, epsilon, epsilon, dual_clip)


def unclipped(ratio, advantages):
    return ratio


ROW = Row(
    literal=literal,
    parameters=(PAPER, {"epsilon": 0.3, "dual_clip": 2.0}),
    worked=(
        (0.5, -1.0, 0.0, PAPER),
        (0.1, -1.0, 0.0, PAPER),
        (2.0, 1.0, 0.0, PAPER),
        (5.0, 1.0, 0.0, PAPER),
        (0.9, -1.0, 0.9, PAPER),
        (1.1, 1.0, 1.1, PAPER),
        (2.9, -1.0, 2.9, PAPER),
        (3.1, -1.0, 0.0, PAPER),
        (50.0, -1.0, 50.0, DISARMED),
        (0.01, 1.0, 0.01, PAPER),
    ),
)

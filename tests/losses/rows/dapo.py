"""Clip-higher, arXiv 2503.14476, Eq. 10, with verl's dual clip."""

from losses.rows import Row
from losses.rows.grpo import ppo

PAPER = {"epsilon_low": 0.2, "epsilon_high": 0.28, "dual_clip": 3.0}


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon_low, epsilon_high, dual_clip):
    return ppo(log_prob, old_log_prob, advantages, epsilon_low, epsilon_high, dual_clip)


def grpo(ratio, advantages):
    clipped = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.2) & (advantages > 0))
    return ratio.masked_fill(clipped, 0.0)


ROW = Row(
    literal=literal,
    parameters=(PAPER, {"epsilon_low": 0.1, "epsilon_high": 0.4, "dual_clip": 2.0}),
    worked=(
        (1.25, 1.0, 1.25, PAPER),
        (1.3, 1.0, 0.0, PAPER),
        (0.75, -1.0, 0.0, PAPER),
        (0.85, -1.0, 0.85, PAPER),
        (1.3, -1.0, 1.3, PAPER),
        (0.75, 1.0, 0.75, PAPER),
        (3.1, -1.0, 0.0, PAPER),
    ),
    limits=(({"epsilon_low": 0.2, "epsilon_high": 0.2, "dual_clip": 1e9}, "PPO-clip", grpo),),
)

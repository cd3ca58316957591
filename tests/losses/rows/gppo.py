"""GPPO, arXiv 2508.07629: PPO's clip with bounds that carry the factor δ/sg(δ)."""

import torch
from losses.rows import Row

PAPER = {"epsilon_low": 0.2, "epsilon_high": 0.28}
LOPSIDED = {"epsilon_low": 0.1, "epsilon_high": 0.4}


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon_low, epsilon_high, dual_clip=None):
    ratio = (log_prob - old_log_prob).exp()
    one = ratio / ratio.detach()
    lower, upper = (1 - epsilon_low) * one, (1 + epsilon_high) * one
    clipped = torch.where(ratio < 1 - epsilon_low, lower, torch.where(ratio > 1 + epsilon_high, upper, ratio))
    takes_ratio = (ratio * advantages).detach() <= (clipped * advantages).detach()
    objective = torch.where(takes_ratio, ratio, clipped) * advantages
    if dual_clip is None:
        return objective
    return torch.where((advantages < 0) & (ratio > dual_clip), dual_clip * advantages, objective)


def cegppo(ratio, advantages):
    w = ratio.clone()
    w[(ratio < 0.8) & (advantages < 0)] = 1.0 * 0.8
    w[(ratio > 1.28) & (advantages > 0)] = 1.0 * 1.28
    return w


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED, {**LOPSIDED, "dual_clip": 3.0}),
    worked=(
        (0.5, -1.0, 0.80, PAPER),
        (0.01, -1.0, 0.80, PAPER),
        (0.9, -1.0, 0.90, PAPER),
        (5.0, -1.0, 5.00, PAPER),
        (5.0, 1.0, 1.28, PAPER),
        (1.1, 2.0, 1.10, PAPER),
        (0.01, 1.0, 0.01, PAPER),
        (11.0, -1.0, 0.0, {**PAPER, "dual_clip": 10.0}),
        (9.0, -1.0, 9.0, {**PAPER, "dual_clip": 10.0}),
    ),
    limits=((PAPER, "CE-GPPO with β1 = β2 = 1", cegppo),),
)

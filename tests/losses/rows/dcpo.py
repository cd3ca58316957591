"""DCPO's clipping, arXiv 2509.02333, and the edges of the table in the authors' README, §4.1."""

import torch
from losses.rows import Row

PAPER = {"epsilon_low": 0.16, "epsilon_high": 0.2}
LOPSIDED = {"epsilon_low": 0.03, "epsilon_high": 0.35, "cap": 4.0}


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon_low, epsilon_high, cap=10.0):
    ratio, q = (log_prob - old_log_prob).exp(), old_log_prob.exp()
    low = 0.5 + 0.5 * torch.sqrt(torch.clamp(1 - 4 * epsilon_low / q, min=0))
    high = 0.5 + 0.5 * torch.sqrt(1 + 4 * epsilon_high / q)
    if cap is not None:
        high = torch.clamp(high, max=cap)
    clipped = torch.minimum(torch.maximum(ratio, low), high)
    objective = torch.minimum(ratio * advantages, clipped * advantages)
    if cap is None:
        return objective
    return torch.where(advantages < 0, torch.maximum(objective, cap * advantages), objective)


COMMON, RARE = {**PAPER, "old_prob": 0.9}, {**PAPER, "old_prob": 0.01}

ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED, {**LOPSIDED, "cap": None}),
    worked=(
        # q = .9: [.7687, 1.1872]
        (0.77, -1.0, 0.77, COMMON),
        (0.76, -1.0, 0.0, COMMON),
        (1.18, 1.0, 1.18, COMMON),
        (1.19, 1.0, 0.0, COMMON),
        # q = .01: [.5, 5]
        (0.51, -1.0, 0.51, RARE),
        (0.49, -1.0, 0.0, RARE),
        (4.99, 1.0, 4.99, RARE),
        (5.01, 1.0, 0.0, RARE),
        # q = 1e-4: upper bound 22.87, capped at 10; c = 10 on the other side
        (9.9, 1.0, 9.9, {**PAPER, "old_prob": 1e-4}),
        (10.1, 1.0, 0.0, {**PAPER, "old_prob": 1e-4}),
        (10.1, 1.0, 10.1, {**PAPER, "old_prob": 1e-4, "cap": None}),
        (9.9, -1.0, 9.9, COMMON),
        (10.1, -1.0, 0.0, COMMON),
        # Never clipped on the pessimistic sides.
        (0.1, 1.0, 0.1, COMMON),
        (1.5, -1.0, 1.5, COMMON),
    ),
)

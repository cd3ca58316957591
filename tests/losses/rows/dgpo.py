"""DGPO, arXiv 2603.14389: powers of δ outside the interval."""

import math

import torch
from losses.rows import Row

PAPER = {"epsilon_low": 0.2, "epsilon_high": 0.2, "n": 1.0, "m": 2.0}
SMALL_MODEL = {**PAPER, "n": 2.0}
LOPSIDED = {"epsilon_low": 0.1, "epsilon_high": 0.4, "n": 1.5, "m": 3.0}


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon_low, epsilon_high, n, m):
    sg = log_prob.detach()
    ratio = (log_prob - old_log_prob).exp()
    below = (log_prob + n * sg - (n + 1) * old_log_prob).exp() / (1 - epsilon_low) ** n
    above = (log_prob - sg / m - (1 - 1 / m) * old_log_prob + math.log(1 + epsilon_high) / m).exp()
    objective = torch.where((ratio < 1 - epsilon_low) & (advantages < 0), below, ratio)
    return torch.where((ratio > 1 + epsilon_high) & (advantages > 0), above, objective) * advantages


def truncated(ratio, advantages):
    return torch.where(advantages > 0, ratio.clamp(max=1.2), ratio)


ROW = Row(
    literal=literal,
    parameters=(PAPER, SMALL_MODEL, LOPSIDED),
    worked=(
        (0.5, -1.0, 0.3125, PAPER),
        (0.1, -1.0, 0.0125, PAPER),
        (0.01, -1.0, 0.000125, PAPER),
        (0.5, -1.0, 0.1953125, SMALL_MODEL),
        (0.8, -1.0, 0.8, PAPER),
        (3.0, -1.0, 3.0, PAPER),
        (2.0, 1.0, math.sqrt(2.4), PAPER),
        (5.0, 1.0, math.sqrt(6.0), PAPER),
        (0.5, 1.0, 0.5, PAPER),
        (1.2, 1.0, 1.2, PAPER),
    ),
    limits=(({**PAPER, "n": 0.0, "m": 1.0}, "min(δ, 1 + ε) for Â > 0, no clipping for Â < 0", truncated),),
)

"""TOPR, arXiv 2503.14286: sg(clip(π(τ)/μ(τ), 0, 1))·R·log π(τ) for wrong responses, R·log π(τ) else."""

import torch
from losses.rows import Row

PAPER = {"ratio_low": 0.0, "ratio_high": 1.0}
LOPSIDED = {"ratio_low": 0.3, "ratio_high": 1.7}


def literal(log_prob, old_log_prob, advantages, mask, *, ratio_low, ratio_high):
    present = mask.bool()
    new = torch.where(present, log_prob, 0.0).sum(-1, keepdim=True)
    old = torch.where(present, old_log_prob, 0.0).sum(-1, keepdim=True)
    taper = torch.exp((new - old).detach()).clip(ratio_low, ratio_high)
    return torch.where(advantages < 0, taper, torch.ones_like(taper)) * advantages * log_prob


def reinforce_on_the_right(ratio, advantages):
    return torch.where(advantages > 0, 1.0, ratio.clamp(max=1.0))


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED),
    worked=(
        (0.5, 1.0, 1.0, PAPER),
        (7.0, 1.0, 1.0, PAPER),
        (0.5, -1.0, 0.5, PAPER),
        (0.001, -1.0, 0.001, PAPER),
        (7.0, -1.0, 1.0, PAPER),
        (0.1, -1.0, 0.3, LOPSIDED),
        (1.4, -1.0, 1.4, LOPSIDED),
        (7.0, -1.0, 1.7, LOPSIDED),
        (7.0, 1.0, 1.0, LOPSIDED),
    ),
    limits=((PAPER, "truncated importance sampling of single tokens", reinforce_on_the_right),),
)

"""GSPO, arXiv 2507.18071, Eq. 5 and 7, per token as GSPO-token: s_t = sg(s)·π_t/sg(π_t)."""

import torch
from losses.rows import Row

PAPER = {"epsilon_low": 3e-4, "epsilon_high": 4e-4}
WIDE = {"epsilon_low": 0.02, "epsilon_high": 0.05}


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon_low, epsilon_high):
    keep = mask.to(log_prob.dtype)
    mean = ((log_prob - old_log_prob) * keep).sum(-1, keepdim=True) / keep.sum(-1, keepdim=True).clamp(min=1)
    s = mean.exp().detach() * (log_prob - log_prob.detach()).exp()
    return torch.minimum(s * advantages, s.clamp(1 - epsilon_low, 1 + epsilon_high) * advantages)


ROW = Row(
    literal=literal,
    parameters=(PAPER, WIDE),
    worked=(
        (1.0003, 1.0, 1.0003, PAPER),
        (1.0005, 1.0, 0.0, PAPER),
        (0.9998, -1.0, 0.9998, PAPER),
        (0.9996, -1.0, 0.0, PAPER),
        (2.0, -1.0, 2.0, PAPER),
        (0.5, 1.0, 0.5, PAPER),
        (0.97, -1.0, 0.0, WIDE),
        (1.04, 1.0, 1.04, WIDE),
    ),
)

"""GMPO, arXiv 2507.20673: every token has the value G·Â of its response."""

import torch
from losses.rows import Row

PAPER = {"log_low": 0.4, "log_high": 0.4}
LOPSIDED = {"log_low": 0.1, "log_high": 0.3}


def literal(log_prob, old_log_prob, advantages, mask, *, log_low, log_high):
    keep = mask.to(log_prob.dtype)
    lengths = keep.sum(-1, keepdim=True).clamp(min=1)
    sign = advantages.sign()
    delta = sign * (log_prob - old_log_prob)
    clipped = sign * (log_prob - old_log_prob).clamp(-log_low, log_high)
    mean = (sign * torch.minimum(delta, clipped) * keep).sum(-1, keepdim=True) / lengths
    advantage = (advantages * keep).sum(-1, keepdim=True) / lengths
    return (mean.exp() * advantage).expand_as(log_prob)


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED),
    worked=(
        (1.4, 1.0, 1.4, PAPER),  # e^.4 = 1.49
        (1.6, 1.0, 0.0, PAPER),
        (0.7, -1.0, 0.7, PAPER),  # e^−.4 = .67
        (0.6, -1.0, 0.0, PAPER),
        (1.6, -1.0, 1.6, PAPER),
        (0.6, 1.0, 0.6, PAPER),
        (0.92, -1.0, 0.92, LOPSIDED),  # e^−.1 = .905
        (0.88, -1.0, 0.0, LOPSIDED),
        (1.34, 1.0, 1.34, LOPSIDED),  # e^.3 = 1.35
        (1.36, 1.0, 0.0, LOPSIDED),
    ),
)

"""SAPO, arXiv 2511.20347, Eq. 5 and 6."""

import math

import torch
from losses.rows import Row

PAPER = {"tau_pos": 1.0, "tau_neg": 1.05}


def literal(log_prob, old_log_prob, advantages, mask, *, tau_pos, tau_neg):
    ratio = (log_prob - old_log_prob).exp()
    positive = torch.sigmoid(tau_pos * (ratio - 1)) * 4 / tau_pos
    negative = torch.sigmoid(tau_neg * (ratio - 1)) * 4 / tau_neg
    return torch.where(advantages > 0, positive, negative) * advantages


ROW = Row(
    literal=literal,
    parameters=(PAPER, {"tau_pos": 2.0, "tau_neg": 3.5}),
    # 4p(1−p) = 1/cosh²(τ(δ−1)/2)
    worked=(
        (1.0, 1.0, 1.0, PAPER),
        (1.0, -1.0, 1.0, PAPER),
        (2.0, 1.0, 2 / math.cosh(0.5) ** 2, PAPER),
        (3.0, 1.0, 3 / math.cosh(1.0) ** 2, PAPER),
        (2.0, -1.0, 2 / math.cosh(0.525) ** 2, PAPER),
    ),
)

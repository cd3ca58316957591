"""SAPO with the Gaussian (error-function) gate, arXiv 2602.19345."""

import math

import torch
from losses.rows import Row

USUAL = {"tau_pos": 1.0, "tau_neg": 1.05}
LOPSIDED = {"tau_pos": 0.6, "tau_neg": 2.5}


def literal(log_prob, old_log_prob, advantages, mask, *, tau_pos, tau_neg):
    ratio = (log_prob - old_log_prob).exp()
    tau = torch.where(advantages > 0, torch.full_like(ratio, tau_pos), torch.full_like(ratio, tau_neg))
    return (1 + math.sqrt(math.pi / 2) / tau * torch.erf(tau * (ratio - 1) / math.sqrt(2))) * advantages


def ratio_only(ratio, advantages):
    return ratio


ROW = Row(
    literal=literal,
    parameters=(USUAL, LOPSIDED),
    worked=(
        (1.0, 1.0, 1.0, LOPSIDED),
        (2.0, 1.0, 2 * 0.6065307, USUAL),  # exp(−1/2)
        (0.5, 1.0, 0.5 * 0.8824969, USUAL),  # exp(−1/8)
        (2.0, -1.0, 2 * 0.5762257, USUAL),  # exp(−1.1025/2)
        (2.0, -1.0, 2 * 0.0439369, LOPSIDED),  # exp(−3.125)
    ),
    limits=(({"tau_pos": 1e-12, "tau_neg": 1e-12}, "REINFORCE with the plain ratio", ratio_only),),
)

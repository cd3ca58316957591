"""SAPO with the Cauchy (arctangent) gate, arXiv 2602.19345."""

import torch
from losses.rows import Row

USUAL = {"tau_pos": 1.0, "tau_neg": 1.05}
LOPSIDED = {"tau_pos": 0.6, "tau_neg": 2.5}


def literal(log_prob, old_log_prob, advantages, mask, *, tau_pos, tau_neg):
    ratio = (log_prob - old_log_prob).exp()
    tau = torch.where(advantages > 0, torch.full_like(ratio, tau_pos), torch.full_like(ratio, tau_neg))
    return (1 + torch.atan(tau * (ratio - 1)) / tau) * advantages


def ratio_only(ratio, advantages):
    return ratio


ROW = Row(
    literal=literal,
    parameters=(USUAL, LOPSIDED),
    worked=(
        (1.0, 1.0, 1.0, LOPSIDED),
        (2.0, 1.0, 1.0, USUAL),  # 2/(1 + 1)
        (0.5, 1.0, 0.4, USUAL),  # .5/(1 + .25)
        (2.0, -1.0, 0.951249, USUAL),  # 2/2.1025
        (2.0, -1.0, 0.275862, LOPSIDED),  # 2/7.25
        (11.0, 1.0, 11 / 37, LOPSIDED),  # x = 6
    ),
    limits=(({"tau_pos": 1e-12, "tau_neg": 1e-12}, "REINFORCE with the plain ratio", ratio_only),),
)

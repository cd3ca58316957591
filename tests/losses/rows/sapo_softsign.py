"""SAPO with the softsign gate, arXiv 2602.19345."""

import torch
from losses.rows import Row

USUAL = {"tau_pos": 1.0, "tau_neg": 1.05}
LOPSIDED = {"tau_pos": 0.6, "tau_neg": 2.5}


def literal(log_prob, old_log_prob, advantages, mask, *, tau_pos, tau_neg):
    ratio = (log_prob - old_log_prob).exp()
    tau = torch.where(advantages > 0, torch.full_like(ratio, tau_pos), torch.full_like(ratio, tau_neg))
    return (1 + torch.nn.functional.softsign(tau * (ratio - 1)) / tau) * advantages


def ratio_only(ratio, advantages):
    return ratio


ROW = Row(
    literal=literal,
    parameters=(USUAL, LOPSIDED),
    worked=(
        (1.0, 1.0, 1.0, LOPSIDED),
        (2.0, 1.0, 0.5, USUAL),  # 2/2²
        (0.5, 1.0, 0.222222, USUAL),  # .5/1.5²
        (2.0, -1.0, 0.475907, USUAL),  # 2/2.05²
        (2.0, -1.0, 0.163265, LOPSIDED),  # 2/3.5²
        (0.5, -1.0, 0.098765, LOPSIDED),  # .5/2.25²
    ),
    limits=(({"tau_pos": 1e-12, "tau_neg": 1e-12}, "REINFORCE with the plain ratio", ratio_only),),
)

"""SAPO with the Student-t gate: by its antiderivative for ν = 2, as sg(f')·δ·Â for other ν."""

import torch
from losses.rows import Row

USUAL = {"tau_pos": 1.0, "tau_neg": 1.05, "nu": 2.0}
LOPSIDED = {"tau_pos": 0.6, "tau_neg": 2.5, "nu": 3.5}


def literal(log_prob, old_log_prob, advantages, mask, *, tau_pos, tau_neg, nu):
    ratio = (log_prob - old_log_prob).exp()
    tau = torch.where(advantages > 0, torch.full_like(ratio, tau_pos), torch.full_like(ratio, tau_neg))
    if nu == 2.0:  # x/√(1 + x²/2) is the antiderivative
        x = tau * (ratio - 1)
        return x / torch.sqrt(1 + x**2 / 2) / tau * advantages
    gate = (1 + tau**2 * (ratio - 1) ** 2 / nu) ** (-(nu + 1) / 2)
    return gate.detach() * ratio * advantages


def cauchy(ratio, advantages):
    tau = torch.where(advantages > 0, 0.6, 2.5).to(ratio.dtype)
    return ratio / (1 + tau**2 * (ratio - 1) ** 2)


ROW = Row(
    literal=literal,
    parameters=(USUAL, LOPSIDED),
    worked=(
        (1.0, 1.0, 1.0, LOPSIDED),
        (2.0, 1.0, 2 * 0.5443311, USUAL),  # 1.5^−1.5
        (0.5, 1.0, 0.5 * 0.8380524, USUAL),  # 1.125^−1.5
        (2.0, -1.0, 0.1994907, LOPSIDED),  # 2·(1 + 6.25/3.5)^−2.25
    ),
    limits=(({"tau_pos": 0.6, "tau_neg": 2.5, "nu": 1.0}, "the Cauchy gate", cauchy),),
)

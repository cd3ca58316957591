"""DISPO, arXiv 2602.00983: sg(clip(δ))·Â·log π with bounds per sign of Â."""

import torch
from losses.rows import Row


def bounds(positive_low, positive_high, negative_low, negative_high):
    return {
        "epsilon_positive_low": positive_low,
        "epsilon_positive_high": positive_high,
        "epsilon_negative_low": negative_low,
        "epsilon_negative_high": negative_high,
    }


EXAMPLE = bounds(0.2, 10.0, 1.0, 100.0)
LOPSIDED = bounds(0.3, 0.6, 0.45, 1.1)
SYMMETRIC = bounds(0.2, 0.28, 0.2, 0.28)


def literal(
    log_prob,
    old_log_prob,
    advantages,
    mask,
    *,
    epsilon_positive_low,
    epsilon_positive_high,
    epsilon_negative_low,
    epsilon_negative_high,
):
    ratio = (log_prob - old_log_prob).exp().detach()
    correct = ratio.clamp(1 - epsilon_positive_low, 1 + epsilon_positive_high)
    wrong = ratio.clamp(1 - epsilon_negative_low, 1 + epsilon_negative_high)
    return torch.where(advantages > 0, correct, wrong) * advantages * log_prob


def cispo(ratio, advantages):
    return ratio.clamp(0.8, 1.28)


ROW = Row(
    literal=literal,
    parameters=(EXAMPLE, LOPSIDED),
    worked=(
        (0.5, 1.0, 0.80, EXAMPLE),
        (20.0, 1.0, 11.0, EXAMPLE),
        (0.01, -1.0, 0.01, EXAMPLE),
        (200.0, -1.0, 101.0, EXAMPLE),
        (0.1, 1.0, 0.70, LOPSIDED),
        (9.0, 1.0, 1.60, LOPSIDED),
        (0.1, -1.0, 0.55, LOPSIDED),
        (9.0, -1.0, 2.10, LOPSIDED),
        (1.5, 2.0, 1.50, LOPSIDED),
    ),
    limits=((SYMMETRIC, "CISPO", cispo),),
)

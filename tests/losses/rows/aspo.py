"""ASPO, arXiv 2510.06062: flipped ratio for Â > 0, PPO's mask, soft dual clip."""

import torch
from losses.rows import Row

DEFAULT = {"epsilon_low": 0.2, "epsilon_high": 0.2, "positive_cap": 3.0}
LOPSIDED = {"epsilon_low": 0.1, "epsilon_high": 0.4, "positive_cap": 2.5, "negative_cap": 1.7}
UNCAPPED = {"epsilon_low": 0.15, "epsilon_high": 0.3, "positive_cap": None}


def literal(
    log_prob,
    old_log_prob,
    advantages,
    mask,
    *,
    epsilon_low,
    epsilon_high,
    positive_cap,
    negative_cap=None,
):
    new, old = log_prob.exp(), old_log_prob.exp()
    ratio, flipped = new / old, old * new / (new * new).detach()
    if positive_cap is not None:
        flipped = torch.where(old / new > positive_cap, positive_cap * log_prob, flipped)
    plain = ratio
    if negative_cap is not None:
        plain = torch.where(ratio > negative_cap, negative_cap * log_prob, ratio)
    objective = torch.where(advantages > 0, flipped, plain) * advantages
    dropped = ((advantages > 0) & (ratio > 1 + epsilon_high)) | ((advantages < 0) & (ratio < 1 - epsilon_low))
    return torch.where(dropped, 0 * objective, objective)


def flipped_throughout(ratio, advantages):
    w = torch.where(advantages > 0, 1 / ratio, ratio)
    w[(advantages > 0) & (ratio > 1.3)] = 0.0
    w[(advantages < 0) & (ratio < 0.85)] = 0.0
    return w


ROW = Row(
    literal=literal,
    parameters=(DEFAULT, LOPSIDED, UNCAPPED),
    worked=(
        (0.5, 1.0, 2.0, DEFAULT),
        (0.8, 1.0, 1.25, DEFAULT),
        (1.25, 1.0, 0.0, DEFAULT),
        (0.1, 1.0, 3.0, DEFAULT),
        (0.1, 1.0, 10.0, UNCAPPED),
        (0.5, -1.0, 0.0, DEFAULT),
        (0.9, -1.0, 0.9, DEFAULT),
        (5.0, -1.0, 5.0, DEFAULT),
        (5.0, -1.0, 3.0, {**DEFAULT, "negative_cap": 3.0}),
        (2.0, -1.0, 2.0, {**DEFAULT, "negative_cap": 3.0}),
    ),
    limits=((UNCAPPED, "the flip and the mask alone", flipped_throughout),),
)

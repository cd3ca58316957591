"""CFPO, arXiv 2601.22801: δ·Â minus a quadratic penalty, differentiated through δ."""

import torch
from losses.rows import Row

EXAMPLE = {"epsilon": 0.2}
WIDE = {"epsilon": 0.35}
HUGE = {"epsilon": 5.0}


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon):
    ratio = (log_prob - old_log_prob).exp()
    return ratio * advantages - advantages.abs() / (2 * epsilon) * (ratio - 1) ** 2


def by_sign(ratio, advantages):
    return ratio * (1 - torch.sign(advantages) * (ratio - 1) / 5.0)


ROW = Row(
    literal=literal,
    parameters=(EXAMPLE, WIDE),
    worked=(
        (1.0, 1.0, 1.0, EXAMPLE),  # on policy: plain policy gradient
        (1.0, -1.0, 1.0, EXAMPLE),
        (1.2, 1.0, 0.0, EXAMPLE),
        (0.8, -1.0, 0.0, EXAMPLE),
        (1.1, 1.0, 0.55, EXAMPLE),
        (1.5, 1.0, -2.25, EXAMPLE),
        (0.5, 1.0, 1.75, EXAMPLE),
        (0.5, -1.0, -0.75, EXAMPLE),
        (2.0, -1.0, 12.0, EXAMPLE),
    ),
    limits=((HUGE, "the penalty's derivative taken apart", by_sign),),
)

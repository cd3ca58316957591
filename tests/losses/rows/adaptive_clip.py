"""Adaptive upper clip (MAI-Thinking-1) at its starting k: min(clip(δ, outer)·Â, clip(δ, inner)·Â)."""

import torch
from losses.rows import Row

REPORT = {"target": 0.3, "epsilon": 0.6, "ratio_max": 50.0}
LOPSIDED = {
    **{"target": 0.35, "epsilon": 0.2, "k": 0.4, "k_step": 0.15, "k_max": 0.9},
    **{"ratio_max": 6.0, "ratio_min": 0.1},
}


def literal(log_prob, old_log_prob, advantages, mask, *, epsilon, ratio_max, k=0.0, ratio_min=0.0, **control):
    ratio = (log_prob - old_log_prob).exp()
    outer = clip(ratio, ratio_min, ratio_max)
    inner = clip(ratio, 1 - epsilon, 1 / (1 - epsilon) + k)
    return torch.minimum(outer * advantages, inner * advantages)


def clip(ratio, low, high):
    return torch.where(ratio < low, low, torch.where(ratio > high, high, ratio))


def ppo_clip(ratio, advantages):
    clipped = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.25) & (advantages > 0))
    return ratio.masked_fill(clipped, 0.0)


ROW = Row(
    literal=literal,
    parameters=(REPORT, LOPSIDED),
    worked=(
        (2.4, 1.0, 2.4, REPORT),  # upper edge 1/.4 = 2.5
        (2.6, 1.0, 0.0, REPORT),
        (4.9, 1.0, 4.9, {**REPORT, "k": 2.5}),
        (5.1, 1.0, 0.0, {**REPORT, "k": 2.5}),
        (0.41, -1.0, 0.41, REPORT),
        (0.39, -1.0, 0.0, REPORT),
        (49.0, -1.0, 49.0, REPORT),
        (51.0, -1.0, 0.0, REPORT),
        (0.05, 1.0, 0.05, REPORT),
        (0.05, 1.0, 0.0, LOPSIDED),
        (0.05, -1.0, 0.0, LOPSIDED),
        (0.15, 1.0, 0.15, LOPSIDED),
    ),
    limits=(({**REPORT, "epsilon": 0.2, "ratio_max": 1e30}, "PPO-clip, .8 to 1.25", ppo_clip),),
)

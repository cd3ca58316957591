"""ERC, arXiv 2512.05591: the base surrogate times the indicator that the authors' README defines."""

import torch
from losses.rows import Row

PAPER = {
    "base": "dapo",
    "beta_low": 0.05,
    "beta_high": 0.05,
    "epsilon_low": 0.2,
    "epsilon_high": 0.28,
    "dual_clip": None,
}
LOPSIDED = {
    **PAPER,
    "beta_low": 0.3,
    "beta_high": 0.6,
    "epsilon_low": 0.1,
    "epsilon_high": 0.4,
    "dual_clip": 3.0,
}
GPPO = {**PAPER, "base": "gppo", "epsilon_high": 0.2}
OPEN = {**PAPER, "beta_low": 1.0, "beta_high": 100.0}


def literal(
    log_prob,
    old_log_prob,
    advantages,
    mask,
    *,
    base,
    beta_low,
    beta_high,
    epsilon_low,
    epsilon_high,
    dual_clip,
    entropy,
    old_entropy,
):
    ratio = (log_prob - old_log_prob).exp()
    low, high = 1 - epsilon_low, 1 + epsilon_high
    if base == "gppo":
        low, high = low * ratio / ratio.detach(), high * ratio / ratio.detach()
    bounded = torch.where(ratio < low, low, torch.where(ratio > high, high, ratio))
    objective = torch.where(advantages < 0, torch.maximum(ratio, bounded), torch.minimum(ratio, bounded))
    objective = objective * advantages
    if dual_clip is not None:
        objective = torch.where((advantages < 0) & (ratio > dual_clip), dual_clip * advantages, objective)
    moved = (entropy + 1e-8) / (old_entropy + 1e-8)
    return torch.where((moved > 1 - beta_low) & (moved < 1 + beta_high), objective, 0 * objective)


def ppo_clip(ratio, advantages):
    clipped = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.28) & (advantages > 0))
    return ratio.masked_fill(clipped, 0.0)


def entropies(now, before, parameters=PAPER):
    return {**parameters, "entropy": now, "old_entropy": before}


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED, GPPO, {**LOPSIDED, "base": "gppo"}),
    worked=(
        (1.2, 1.0, 1.2, entropies(2.0, 2.0)),
        (1.2, 1.0, 1.2, entropies(2.09, 2.0)),
        (1.2, 1.0, 0.0, entropies(2.11, 2.0)),
        (0.9, -1.0, 0.9, entropies(1.91, 2.0)),
        (0.9, -1.0, 0.0, entropies(1.89, 2.0)),
        # ρ of .75 and 1.5 is inside .7 and 1.6; ρ of .65 and 1.7 is not.
        (1.2, 1.0, 1.2, entropies(1.5, 2.0, LOPSIDED)),
        (1.2, 1.0, 0.0, entropies(1.3, 2.0, LOPSIDED)),
        (1.2, 1.0, 1.2, entropies(3.0, 2.0, LOPSIDED)),
        (1.2, 1.0, 0.0, entropies(3.4, 2.0, LOPSIDED)),
        # The base's clip
        (0.5, -1.0, 0.0, entropies(2.0, 2.0)),
        (0.5, -1.0, 0.8, entropies(2.0, 2.0, GPPO)),
        (5.0, 1.0, 1.2, entropies(2.0, 2.0, GPPO)),
        (5.0, 1.0, 0.0, entropies(1.8, 2.0, GPPO)),
        # π_old deterministic
        (0.9, -1.0, 0.9, entropies(0.0, 0.0)),
        (0.9, -1.0, 0.0, entropies(0.1, 0.0)),
        (0.9, -1.0, 0.0, entropies(0.0, 0.1)),
    ),
    limits=((OPEN, "PPO-clip", ppo_clip),),
)

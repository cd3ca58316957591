"""FIPO, arXiv 2603.19835: PPO's surrogate with sg(f)·Â for Â, FutureKL summed naively for every token."""

import torch
from losses.rows import Row

PAPER = {
    "half_life": 32.0,
    "factor_low": 0.8,
    "factor_high": 1.2,
    "safety": 10.0,
    "safety_rule": "one",
    "epsilon_low": 0.2,
    "epsilon_high": 0.28,
    "dual_clip": 10.0,
}
LOPSIDED = {
    **PAPER,
    "half_life": 3.0,
    "factor_low": 0.55,
    "factor_high": 1.7,
    "safety": 2.5,
    "epsilon_low": 0.15,
    "epsilon_high": 0.4,
    "dual_clip": 6.0,
}
CAP = {**LOPSIDED, "safety_rule": "cap"}
SCRIPT = {**PAPER, "factor_low": 1.0, "safety_rule": "cap"}
NEUTRAL = {**PAPER, "factor_low": 1.0, "factor_high": 1.0}


def literal(
    log_prob,
    old_log_prob,
    advantages,
    mask,
    *,
    half_life,
    factor_low,
    factor_high,
    safety,
    safety_rule,
    epsilon_low,
    epsilon_high,
    dual_clip,
):
    ratio = (log_prob - old_log_prob).exp()
    gamma = 2 ** (-1 / half_life)
    counts = mask.bool() & (ratio <= dual_clip)
    shift = torch.where(counts, log_prob - old_log_prob, torch.zeros_like(log_prob))
    length = log_prob.shape[-1]
    sums = [sum(gamma ** (k - t) * shift[:, k] for k in range(t, length)) for t in range(length)]
    f = torch.clamp(torch.stack(sums, -1).exp(), factor_low, factor_high).detach()
    if safety_rule == "one":
        f = torch.where(ratio > safety, torch.ones_like(f), f)
    else:
        f = torch.where((ratio > safety) & (advantages < 0), torch.clamp(f, max=1.0), f)
    scaled = advantages * f
    clipped = torch.clamp(ratio, 1 - epsilon_low, 1 + epsilon_high)
    objective = torch.minimum(ratio * scaled, clipped * scaled)
    return torch.where(advantages < 0, torch.maximum(objective, dual_clip * scaled), objective)


def ppo_clip(ratio, advantages):
    clipped = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.28) & (advantages > 0))
    return ratio.masked_fill(clipped | ((ratio > 10) & (advantages < 0)), 0.0)


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED, CAP, SCRIPT),
    worked=(
        # One token: F = log δ, so f = δ within the bounds.
        (1.1, 1.0, 1.21, PAPER),
        (0.9, -1.0, 0.81, PAPER),
        (1.25, 1.0, 1.5, PAPER),
        (0.5, 1.0, 0.4, PAPER),
        (5.0, -1.0, 6.0, PAPER),
        (0.9, -1.0, 0.9, SCRIPT),
        # Clipped by PPO, and by dual clip
        (0.5, -1.0, 0.0, PAPER),
        (1.3, 1.0, 0.0, PAPER),
        (11.0, -1.0, 0.0, PAPER),
        # δ > s = 2.5: f = 1 under both rules
        (3.0, -1.0, 3.0, LOPSIDED),
        (3.0, -1.0, 3.0, CAP),
        (2.0, -1.0, 3.4, LOPSIDED),
    ),
    limits=((NEUTRAL, "PPO-clip with dual clip", ppo_clip),),
)

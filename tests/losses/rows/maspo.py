"""MASPO, arXiv 2602.17550: the authors' README's F, σ_pos and σ_neg; δ detached inside F as in their code."""

import torch
from losses.rows import Row

PAPER = {"sigma_base": 1.0, "alpha": 0.3, "beta_low": 0.03, "beta_high": 0.03}
LOPSIDED = {"sigma_base": 0.7, "alpha": 0.45, "beta_low": 0.11, "beta_high": 0.25}
BARE = {"sigma_base": 1.0, "alpha": 0.0, "beta_low": 0.0, "beta_high": 0.0}


def literal(
    log_prob, old_log_prob, advantages, mask, *, sigma_base, alpha, beta_low, beta_high, sigma_high=None
):
    ratio = (log_prob - old_log_prob).exp()
    width = sigma_base / old_log_prob.exp() ** alpha
    if sigma_high is not None:
        width = torch.minimum(width, torch.full_like(width, sigma_high))
    upper = width * (1 + beta_high * advantages)
    lower = width / (1 - beta_low * advantages)
    gate = torch.ones_like(ratio)
    gate = torch.where((advantages > 0) & (ratio > 1), torch.exp(-((ratio - 1) ** 2) / (2 * upper**2)), gate)
    gate = torch.where((advantages < 0) & (ratio < 1), torch.exp(-((ratio - 1) ** 2) / (2 * lower**2)), gate)
    return gate.detach() * ratio * advantages


def one_sided_gaussian(ratio, advantages):
    outward = ((advantages > 0) & (ratio > 1)) | ((advantages < 0) & (ratio < 1))
    return torch.where(outward, ratio * torch.exp(-0.5 * (ratio - 1) ** 2), ratio)


def ratio_only(ratio, advantages):
    return ratio


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED, {**LOPSIDED, "sigma_high": 1.1}),
    worked=(
        # σ = 1.03, 2·exp(−1/2.1218)
        (2.0, 1.0, 1.248379, PAPER),
        # σ = 1/1.03, .5·exp(−.125·1.0609)
        (0.5, -1.0, 0.437902, PAPER),
        # Â = ±2: σ = 1.06 and 1/1.06
        (2.0, 2.0, 1.281647, PAPER),
        (0.5, -2.0, 0.434489, PAPER),
        # π_old = .01: σ = 10^.6·1.03 = 4.100518, then bounded to 2·1.03
        (2.0, 1.0, 1.941400, {**PAPER, "old_prob": 0.01}),
        (2.0, 1.0, 1.777676, {**PAPER, "old_prob": 0.01, "sigma_high": 2.0}),
        # The other side is not gated.
        (2.0, -1.0, 2.0, PAPER),
        (0.5, 1.0, 0.5, PAPER),
        (1.0, 1.0, 1.0, PAPER),
    ),
    limits=(
        (BARE, "a one-sided Gaussian gate of width 1", one_sided_gaussian),
        ({**BARE, "sigma_base": 1e12}, "REINFORCE with the plain ratio", ratio_only),
    ),
)

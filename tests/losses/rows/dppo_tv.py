"""DPPO-Binary-TV, arXiv 2602.04879, Eq. 12 and 14."""

import torch
from losses.rows import Row

PAPER = {"tv_low": 0.15, "tv_high": 0.15, "truncation": 1e4}
LOPSIDED = {"tv_low": 0.02, "tv_high": 0.05, "truncation": 1.5}


def masked(log_prob, old_log_prob, advantages, dropped, truncation):
    """M·min(δ, c)·Â, with the gradient of M·δ·Â where δ ≤ c and of sg(c)·log π·Â above."""
    ratio = (log_prob - old_log_prob).exp()
    truncated = torch.where(ratio > truncation, truncation * (log_prob - log_prob.detach()).exp(), ratio)
    return torch.where(dropped, 0 * truncated, truncated) * advantages


def literal(log_prob, old_log_prob, advantages, mask, *, tv_low, tv_high, truncation):
    change = (log_prob.exp() - old_log_prob.exp()).detach()
    dropped = ((change > tv_high) & (advantages > 0)) | ((change < -tv_low) & (advantages < 0))
    return masked(log_prob, old_log_prob, advantages, dropped, truncation)


def at(old_prob, parameters):
    return {**parameters, "old_prob": old_prob}


ROW = Row(
    literal=literal,
    parameters=(PAPER, LOPSIDED),
    worked=(
        (100.0, 1.0, 100.0, at(1e-5, PAPER)),  # rare tokens may rise a lot: .001 − .00001 < .15
        (1.5, 1.0, 1.5, at(0.25, PAPER)),  # .375 − .25 = .125
        (1.75, 1.0, 0.0, at(0.25, PAPER)),  # .4375 − .25 = .1875
        (1.75, -1.0, 1.75, at(0.25, PAPER)),
        (0.875, -1.0, 0.875, at(0.9, PAPER)),  # .9 − .7875 = .1125
        (0.8, -1.0, 0.0, at(0.9, PAPER)),  # .9 − .72 = .18
        (0.8, 1.0, 0.8, at(0.9, PAPER)),
        (4.0, 1.0, 1.5, at(0.01, LOPSIDED)),  # .04 − .01 = .03 < .05, truncated
    ),
)

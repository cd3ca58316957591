"""Estimators and intervals. Vectorised numpy and scipy, no data frames; randomness through a Generator."""

from cegppo_verl.stats.bootstrap import (
    Band,
    Interval,
    bootstrap_accuracy,
    bootstrap_curves,
    bootstrap_pass_at_k,
)
from cegppo_verl.stats.estimators import avg_at_k, pass_at_k, problem_counts
from cegppo_verl.stats.paired import PairedDifference, holm, paired_difference, sign_flip_p
from cegppo_verl.stats.smoothing import moving_mean

__all__ = [
    "Band",
    "Interval",
    "PairedDifference",
    "avg_at_k",
    "bootstrap_accuracy",
    "bootstrap_curves",
    "bootstrap_pass_at_k",
    "holm",
    "moving_mean",
    "paired_difference",
    "pass_at_k",
    "problem_counts",
    "sign_flip_p",
]

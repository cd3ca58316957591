"""Estimators and intervals. Vectorised numpy and scipy, no data frames; randomness through a Generator.

Which interval to use (reports/statistics.md has the measured coverage of each):

    one arm, one or more benchmarks          mean_interval of the cells' scores
    two arms                                 difference_interval, p-values through holm
    which arm may be set in bold             rank
    any other statistic of runs × tasks      aggregate, improvement, profile_band
    many seeds, or a picture of the layers   bootstrap_accuracy, bootstrap_macro, paired_difference
    before the runs                          variance_components, detectable_effect, needed
    curves                                   fit_sigmoid, fit_entropy
"""

from cegppo_verl.stats.aggregate import (
    aggregate,
    improvement,
    iqm,
    median_of_means,
    optimality_gap,
    probability_of_improvement,
    profile,
    profile_band,
)
from cegppo_verl.stats.best import Ranking, decide, rank
from cegppo_verl.stats.bootstrap import (
    Band,
    bootstrap_accuracy,
    bootstrap_curves,
    bootstrap_pass_at_k,
)
from cegppo_verl.stats.crossed import difference_interval, mean_interval
from cegppo_verl.stats.estimators import avg_at_k, cell_means, maj_at_k, pass_at_k, problem_counts
from cegppo_verl.stats.fits import Fit, fit_entropy, fit_sigmoid
from cegppo_verl.stats.interval import Interval
from cegppo_verl.stats.macro import bootstrap_macro, bootstrap_macro_difference
from cegppo_verl.stats.paired import PairedDifference, holm, paired_difference, sign_flip_p
from cegppo_verl.stats.power import (
    Components,
    Design,
    detectable_effect,
    needed,
    paired_components,
    variance_components,
)
from cegppo_verl.stats.smoothing import moving_mean
from cegppo_verl.stats.weights import ProblemDraws

__all__ = [
    "Band",
    "Components",
    "Design",
    "Fit",
    "Interval",
    "PairedDifference",
    "ProblemDraws",
    "Ranking",
    "aggregate",
    "avg_at_k",
    "bootstrap_accuracy",
    "bootstrap_curves",
    "bootstrap_macro",
    "bootstrap_macro_difference",
    "bootstrap_pass_at_k",
    "cell_means",
    "decide",
    "detectable_effect",
    "difference_interval",
    "fit_entropy",
    "fit_sigmoid",
    "holm",
    "improvement",
    "iqm",
    "maj_at_k",
    "mean_interval",
    "median_of_means",
    "moving_mean",
    "needed",
    "optimality_gap",
    "paired_components",
    "paired_difference",
    "pass_at_k",
    "probability_of_improvement",
    "problem_counts",
    "profile",
    "profile_band",
    "rank",
    "sign_flip_p",
    "variance_components",
]

"""Before the runs: which gap a design can resolve, and how many seeds, problems or samples a gap needs.

The variance of a difference of two arms on shared problems, by layer (S seeds, P problems, K samples each):

    V_seed    = 2·seed / S
    V_problem = [ problem + 2·(interaction + sample / K) / S ] / P

Samples shrink only the last term, seeds never the ``problem`` term: on 30 problems there is a gap that no
number of seeds resolves. The components come from records by the analysis of variance of crossed designs
(Searle, Casella & McCulloch 1992), the layers of Miller 2024 (arXiv 2411.00640) with the seed added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm

from cegppo_verl.stats.crossed import Spread, interaction_mean_square
from cegppo_verl.stats.estimators import cell_means, problem_counts

What = Literal["seeds", "problems", "samples"]


@dataclass(frozen=True)
class Components:
    """Variances of one score by layer, on the scale of accuracy² (0.02² is a standard deviation of 2 points).

    Attributes:
        seed: of a training seed's mean over all problems; NaN when one seed was run.
        problem: of a problem's difficulty (one arm), or of the arms' true difference per problem (two arms).
        interaction: seed × problem; NaN with one seed, and it holds ``sample`` when K was 1.
        sample: of one verdict around its cell's mean; NaN when K was 1.
    """

    seed: float
    problem: float
    interaction: float
    sample: float


@dataclass(frozen=True)
class Design:
    """Seeds per arm, problems, samples per problem."""

    seeds: int
    problems: int
    samples: int


def variance_components(correct: np.ndarray) -> Components:
    """Components of one arm from verdicts (S, P, K), 0/1; estimates below 0 are 0."""
    n, c = problem_counts(correct)
    cells, sample = cell_means(n, c), _sample_variance(n, c)
    if np.isnan(cells).any():
        raise ValueError("every seed needs samples of every problem")
    draws = 0.0 if np.isnan(sample) else sample * float((1 / n).mean())
    if len(cells) < 2:
        return Components(np.nan, max(float(cells[0].var(ddof=1)) - draws, 0.0), np.nan, sample)
    (seeds, problems), error = cells.shape, interaction_mean_square(cells)
    seed = float(cells.mean(1).var(ddof=1)) - error / problems
    problem = float(cells.mean(0).var(ddof=1)) - error / seeds
    return Components(max(seed, 0.0), max(problem, 0.0), max(error - draws, 0.0), sample)


def paired_components(a: np.ndarray, b: np.ndarray) -> Components:
    """Components of a difference, from two arms' verdicts (S_a, P, K) and (S_b, P, K) on the same problems.

    ``problem`` is the variance over problems of the arms' true difference; the rest is the arms' mean.
    """
    arms = [variance_components(arm) for arm in (a, b)]
    tables = [cell_means(*problem_counts(arm)) for arm in (a, b)]
    difference = float((tables[0].mean(0) - tables[1].mean(0)).var(ddof=1))
    noise = sum(_noise_per_problem(arm, table) for arm, table in zip((a, b), tables, strict=True))
    seed, interaction, sample = (
        float(np.mean([getattr(arm, name) for arm in arms])) for name in ("seed", "interaction", "sample")
    )
    return Components(seed, max(difference - noise, 0.0), interaction, sample)


def planned_spread(components: Components, design: Design) -> Spread:
    """The variance that a difference of two arms will have under this design.

    Raises:
        ValueError: fewer than 2 seeds or problems, or a component is not known: give it with
            ``dataclasses.replace``, from other runs or as an assumption.
    """
    seed, interaction = components.seed, components.interaction
    if np.isnan([seed, interaction, components.problem]).any():
        raise ValueError("the seed's variance is not known from one seed; say what it is assumed to be")
    if min(design.seeds, design.problems) < 2 or design.samples < 1:
        raise ValueError(f"a design needs 2 seeds, 2 problems and 1 sample, got {design}")
    sample = 0.0 if np.isnan(components.sample) else components.sample / design.samples
    problem = (components.problem + 2 * (interaction + sample) / design.seeds) / design.problems
    return Spread(2 * seed / design.seeds, 2 * (design.seeds - 1), problem, design.problems - 1)


def detectable_effect(
    components: Components, design: Design, *, power: float = 0.8, level: float = 0.95
) -> float:
    """The smallest true difference found significant with this power (0 to 1 scale).

    Half-width of the interval plus z(power) standard errors.
    """
    found = planned_spread(components, design)
    return found.half_width(level) + float(norm.ppf(power)) * found.standard_error


def needed(
    gap: float,
    components: Components,
    design: Design,
    what: What,
    *,
    power: float = 0.8,
    level: float = 0.95,
    limit: int = 100_000,
) -> int | None:
    """How many seeds, problems or samples resolve this gap, the rest of the design as it is.

    Args:
        gap: true difference, 0 to 1 scale, > 0.

    Returns:
        The smallest number; None when not even ``limit`` of them do.
    """
    if not gap > 0:
        raise ValueError(f"the gap must be above 0, got {gap}")

    def resolves(number: int) -> bool:
        changed = Design(**{**design.__dict__, what: number})
        return detectable_effect(components, changed, power=power, level=level) <= gap

    return _smallest(resolves, 1 if what == "samples" else 2, limit)


def _smallest(accepts: Callable[[int], bool], low: int, limit: int) -> int | None:
    """Bisection for the first accepted number of a monotone rule."""
    if not accepts(limit):
        return None
    high = limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if accepts(middle) else (middle + 1, high)
    return low


def _sample_variance(n: np.ndarray, c: np.ndarray) -> float:
    """Mean over cells of the unbiased variance of a verdict, p(1 − p)·n/(n − 1); NaN when all n are 1."""
    many = n > 1
    if not many.any():
        return float("nan")
    mean = c[many] / n[many]
    return float((mean * (1 - mean) * n[many] / (n[many] - 1)).mean())


def _noise_per_problem(correct: np.ndarray, table: np.ndarray) -> float:
    """Variance of an arm's mean on one problem that is not the problem's own: interaction and sampling."""
    if len(table) > 1:
        return interaction_mean_square(table) / len(table)
    n, c = problem_counts(correct)
    sample = _sample_variance(n, c)
    return 0.0 if np.isnan(sample) else sample * float((1 / n).mean())

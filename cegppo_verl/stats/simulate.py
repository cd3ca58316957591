"""Evaluations of known truth: what the coverage of an interval is measured on.

Log-odds of a right answer = difficulty of the problem + shift of the arm + seed + arm × problem + seed ×
problem, all normal, difficulty a mixture of easy, middling and hard problems; verdicts are Bernoulli.
Expectations are Gauss–Hermite sums, so the truth is exact and not simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
Mixture = tuple[tuple[float, float, float], ...]
MIXED: Mixture = ((0.35, 2.2, 1.0), (0.35, 0.0, 1.0), (0.30, -2.5, 1.0))


def as_it_is(p: np.ndarray) -> np.ndarray:
    """The accuracy itself, as score of a problem."""
    return p


@dataclass(frozen=True)
class World:
    """Standard deviations are on the logit.

    Attributes:
        difficulty: (share, mean, sd) per kind of problem.
        seed_sd: training seeds; 0.15 is about 2 points of accuracy on ``MIXED``.
        seed_problem_sd: which problems a training seed happens to solve.
        arm_problem_sd: which problems suit an arm.
    """

    difficulty: Mixture = MIXED
    seed_sd: float = 0.15
    seed_problem_sd: float = 0.6
    arm_problem_sd: float = 0.3

    def problems(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(P,) log-odds."""
        share, mean, sd = np.array(self.difficulty).T
        kind = rng.choice(len(share), p=share / share.sum(), size=count)
        return mean[kind] + sd[kind] * rng.standard_normal(count)

    def arm(self, rng: np.random.Generator, problems: np.ndarray, shift: float = 0.0) -> np.ndarray:
        """(P,) log-odds of an arm on these problems."""
        return problems + shift + self.arm_problem_sd * rng.standard_normal(len(problems))

    def seeds(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(S,) effects of training seeds; give the same ones to every benchmark."""
        return self.seed_sd * rng.standard_normal(count)

    def right(self, rng: np.random.Generator, arm: np.ndarray, seeds: np.ndarray, samples: int) -> np.ndarray:
        """Right samples of K, (S, P)."""
        own = self.seed_problem_sd * rng.standard_normal((len(seeds), len(arm)))
        return rng.binomial(samples, expit(arm + seeds[:, None] + own))

    def truth(self, shift: float = 0.0, score: Callable[[np.ndarray], np.ndarray] = as_it_is) -> float:
        """Expected score over new seeds and new problems."""
        sds = (self.seed_sd, self.seed_problem_sd, self.arm_problem_sd)
        return sum(
            share * float(expected(np.array(mean + shift), (sd, *sds), score))
            for share, mean, sd in self.difficulty
        )

    def truth_of_runs(self, seeds: np.ndarray) -> float:
        """Expected accuracy of these runs on new problems."""
        sds = (self.seed_problem_sd, self.arm_problem_sd)
        kinds = [w * expected(m + seeds, (sd, *sds), as_it_is).mean() for w, m, sd in self.difficulty]
        return float(sum(kinds))

    def truth_of_problems(self, arm: np.ndarray) -> float:
        """Expected accuracy over new seeds on these problems."""
        return float(expected(arm, (self.seed_sd, self.seed_problem_sd), as_it_is).mean())


def expected(
    centre: np.ndarray, sds: tuple[float, ...], score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """E[score(σ(centre + noise))] for independent normal parts of the noise; same shape as ``centre``."""
    width = float(np.sqrt(np.square(sds).sum()))
    return score(expit(np.asarray(centre)[..., None] + width * _NODES)) @ _WEIGHTS

"""verl's best@k (a bootstrap with replacement) against the unbiased pass@k, on answers of known truth."""

from __future__ import annotations

import numpy as np
import pytest

from cegppo_verl.stats.estimators import pass_at_k

verl = pytest.importorskip("verl.trainer.ppo.metric_utils")

SAMPLES, PROBLEMS, EVALUATIONS = 8, 12, 80
RATES = np.linspace(0.02, 0.4, PROBLEMS)  # a right answer's probability


def verl_best(correct: np.ndarray, k: int) -> float:
    """What verl logs as best@k/mean: the mean over problems of the bootstrapped maximum."""
    draw = lambda row: verl.bootstrap_metric(list(row), k, [np.max], n_bootstrap=100)[0][0]  # noqa: E731
    return float(np.mean([draw(row) for row in correct]))


def bias(k: int) -> tuple[float, float]:
    """Mean excess over the truth of verl's number and of ours, over many evaluations of the same model."""
    rng = np.random.default_rng(11)
    truth = np.mean(1 - (1 - RATES) ** k)
    theirs, ours = [], []
    for _ in range(EVALUATIONS):
        correct = (rng.random((PROBLEMS, SAMPLES)) < RATES[:, None]).astype(float)
        theirs.append(verl_best(correct, k))
        ours.append(pass_at_k(np.full(PROBLEMS, SAMPLES), correct.sum(1), k).mean())
    return float(np.mean(theirs) - truth), float(np.mean(ours) - truth)


@pytest.mark.parametrize(("k", "least"), [(8, 0.06), (4, 0.03)])
def test_verl_is_too_low_and_ours_is_not(k: int, least: float) -> None:
    theirs, ours = bias(k)
    assert theirs < -least
    assert abs(ours) < least / 2


def test_the_bias_is_that_of_drawing_with_replacement() -> None:
    """verl estimates 1 − (1 − c/n)^k, not 1 − C(n−c, k)/C(n, k): with one right answer in 8, 0.656 for 1."""
    row = [1.0] + [0.0] * 7
    found = verl.bootstrap_metric(row, 8, [np.max], n_bootstrap=4000)[0][0]
    assert found == pytest.approx(1 - (7 / 8) ** 8, abs=0.03)
    assert pass_at_k(np.array(8), np.array(1), 8) == 1.0

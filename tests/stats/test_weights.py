"""The fast ways are the slow ones: products of weights, enumerated draws of seeds, signs from bits."""

from __future__ import annotations

import numpy as np
import pytest

from cegppo_verl.stats import bootstrap, bootstrap_curves, paired, sign_flip_p, weights
from cegppo_verl.stats.estimators import mean_over_problems

UNITS = pytest.mark.parametrize("unit", ["seed", "problem", "sample"])


def counts(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = rng.integers(3, 9, (4, 40))
    return n, rng.binomial(n, rng.random(40) * [[0.7], [0.8], [0.9], [1.0]])


@UNITS
def test_weights_give_what_drawing_every_sample_gives(unit: str) -> None:
    n, c = counts()
    layers = bootstrap._layers(unit)
    fast = weights.replicates([(1.0, [weights.cells(n, c)])], np.random.default_rng(1), layers, 20_000)
    slow = bootstrap.resample_means(n, c, np.random.default_rng(2), unit, 20_000, mean_over_problems)
    assert fast.mean() == pytest.approx(slow.mean(), abs=4 * slow.std() / np.sqrt(20_000))
    assert fast.std() == pytest.approx(slow.std(), rel=0.03)
    assert np.quantile(fast, (0.025, 0.975)) == pytest.approx(np.quantile(slow, (0.025, 0.975)), abs=0.003)


@UNITS
def test_a_difference_draws_problems_jointly(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = counts(), counts(3)
    fast = paired._replicates(a, b, np.random.default_rng(1), unit, 10_000)
    monkeypatch.setattr(paired, "weighable", lambda n: False)
    slow = paired._replicates(a, b, np.random.default_rng(2), unit, 10_000)
    assert fast.mean() == pytest.approx(slow.mean(), abs=4 * slow.std() / 100)
    assert fast.std() == pytest.approx(slow.std(), rel=0.04)


def test_few_seeds_are_enumerated_and_agree_with_drawing_them() -> None:
    curves = np.random.default_rng(0).normal(size=(5, 7))
    shares, probability = bootstrap._all_draws(5)
    assert probability.sum() == pytest.approx(1)
    assert len(shares) == 126  # C(9, 5)
    band = bootstrap_curves(curves, np.random.default_rng(0))
    assert bootstrap_curves(curves, np.random.default_rng(9)).low.tolist() == band.low.tolist()
    index = np.random.default_rng(1).integers(5, size=(40_000, 5))
    low, high = np.quantile(curves[index].mean(1), (0.025, 0.975), axis=0)
    assert band.low == pytest.approx(low, abs=0.06)
    assert band.high == pytest.approx(high, abs=0.06)


def test_random_signs_are_signs() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(size=51)
    sums = paired._random_flips(differences, rng, 30_000)
    assert sums.mean() == pytest.approx(0, abs=4 * np.linalg.norm(differences) / np.sqrt(30_000))
    assert sums.std() == pytest.approx(np.linalg.norm(differences), rel=0.02)
    assert len(np.unique(np.round(sums, 9))) > 29_900


def test_ties_count_for_the_hypothesis_of_no_difference() -> None:
    """Each of 15 thirds flipped: |sum| reaches that of all alike with a probability of 2/2^15."""
    found = sign_flip_p(np.full(15, 1 / 3), np.random.default_rng(0), n_permutations=400_000)
    assert found == pytest.approx(2 / 2**15, rel=0.5)

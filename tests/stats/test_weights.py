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


def test_shared_draws_of_problems_give_what_own_draws_give() -> None:
    arm, draws = [(1.0, [weights.cells(*counts())])], weights.ProblemDraws(5)
    own = weights.replicates(arm, np.random.default_rng(1), 3, 20_000)
    shared = weights.replicates(arm, np.random.default_rng(2), 3, 20_000, draws)
    assert shared.mean() == pytest.approx(own.mean(), abs=4 * own.std() / np.sqrt(20_000))
    assert shared.std() == pytest.approx(own.std(), rel=0.03)
    assert np.quantile(shared, (0.025, 0.975)) == pytest.approx(np.quantile(own, (0.025, 0.975)), abs=0.003)


def test_arms_that_share_draws_see_the_same_problems_in_every_replicate() -> None:
    scores = np.random.default_rng(0).random((1, 40))
    arm, draws = [(1.0, [(scores, np.zeros_like(scores))])], weights.ProblemDraws(5)
    found = [weights.replicates(arm, np.random.default_rng(seed), 3, 1200, draws) for seed in (1, 2)]
    assert found[0].tolist() == found[1].tolist()
    assert len(np.unique(found[0])) > 1100


def test_draws_of_problems_depend_on_their_seed_and_size_alone() -> None:
    first, second = weights.ProblemDraws(5), weights.ProblemDraws(5)
    second.shares(30, 100)
    assert np.array_equal(first.shares(40, 100), second.shares(40, 100))
    assert not np.array_equal(first.shares(40, 100), weights.ProblemDraws(6).shares(40, 100))
    assert first.shares(40, 100) is first.shares(40, 100)
    assert first.shares(40, 100).sum(1) == pytest.approx(1)
    with pytest.raises(ValueError, match="read-only"):
        first.shares(40, 100)[0, 0] = 1.0


def test_shared_draws_are_of_one_benchmark() -> None:
    with pytest.raises(ValueError, match="one benchmark"):
        weights.replicates(
            [(1.0, [weights.cells(*counts())] * 2)], np.random.default_rng(1), 3, 9, weights.ProblemDraws(5)
        )


def test_without_drawing_problems_shared_draws_change_nothing() -> None:
    arm = [(1.0, [weights.cells(*counts())])]
    own = weights.replicates(arm, np.random.default_rng(1), 1, 700)
    shared = weights.replicates(arm, np.random.default_rng(1), 1, 700, weights.ProblemDraws(5))
    assert own.tolist() == shared.tolist()

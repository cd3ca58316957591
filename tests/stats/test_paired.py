from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from cegppo_verl.stats import bootstrap_accuracy, holm, paired_difference, sign_flip_p


def two_arms(
    rng: np.random.Generator, effect: float, problems: int = 60, samples: int = 16
) -> list[np.ndarray]:
    difficulty = rng.uniform(0.1, 0.9, problems)
    means = (np.clip(difficulty + effect, 0, 1), difficulty)
    return [(rng.random((problems, samples)) < mean[:, None]).astype(float) for mean in means]


def test_the_point_is_the_difference_of_the_means() -> None:
    a, b = np.array([[1.0, 1], [1, 0]]), np.array([[0.0, 0], [1, 0]])
    assert paired_difference(a, b, np.random.default_rng(0)).interval.point == 0.5


def test_pairing_makes_the_interval_much_narrower() -> None:
    rng = np.random.default_rng(0)
    a, b = two_arms(rng, 0.0)
    paired = paired_difference(a, b, rng).interval
    alone = [bootstrap_accuracy(arm, rng) for arm in (a, b)]
    unpaired = np.hypot(*[interval.high - interval.low for interval in alone])
    assert paired.high - paired.low < 0.7 * unpaired


def test_coverage_of_a_true_difference_and_of_none() -> None:
    rng = np.random.default_rng(1)
    found = [
        paired_difference(*two_arms(rng, e), rng, n_resamples=300, n_permutations=1000)
        for e in [0.1] * 60 + [0.0] * 60
    ]
    covered = [
        i.interval.low <= truth <= i.interval.high
        for i, truth in zip(found, [0.1] * 60 + [0] * 60, strict=True)
    ]
    assert np.mean(covered) >= 0.9
    assert np.mean([i.interval.excludes_zero for i in found[:60]]) > 0.9
    assert np.mean([i.p_value < 0.05 for i in found[60:]]) < 0.12


def test_problems_missing_in_one_arm_are_left_out() -> None:
    a = np.array([[1.0], [1.0], [0.0]])
    b = np.array([[0.0], [0.0], [np.nan]])
    found = paired_difference(a, b, np.random.default_rng(0)).interval
    assert (found.point, found.problems) == (1.0, 2)


def test_unequal_numbers_of_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="share problems"):
        paired_difference(np.ones((2, 1)), np.ones((3, 1)), np.random.default_rng(0))


@pytest.mark.parametrize("problems", [0, 1])
def test_too_few_problems_give_no_interval_and_no_p(problems: int) -> None:
    found = paired_difference(np.ones((problems, 1)), np.zeros((problems, 1)), np.random.default_rng(0))
    assert np.isnan([found.interval.low, found.interval.high, found.p_value]).all()
    assert not found.interval.excludes_zero


def test_seeds_widen_the_interval_when_they_disagree() -> None:
    rng = np.random.default_rng(0)
    base = (rng.random((2, 60, 8)) < 0.5).astype(float)
    arm = base.copy()
    arm[0] = 1.0
    seeds = paired_difference(arm, base, rng).interval
    problems = paired_difference(arm, base, rng, unit="problem").interval
    assert seeds.high - seeds.low > 2 * (problems.high - problems.low)


def test_sign_flip_agrees_with_scipy_exactly_on_few_problems() -> None:
    differences = np.array([0.3, -0.1, 0.4, 0.2, 0.0, 0.5, 0.1, -0.2])
    exact = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences, np.random.default_rng(0)) == pytest.approx(exact.pvalue)


def test_sign_flip_by_hand_and_never_zero() -> None:
    assert sign_flip_p(np.ones(3), np.random.default_rng(0)) == 0.25
    assert sign_flip_p(np.zeros(20), np.random.default_rng(0)) == 1.0
    assert sign_flip_p(np.ones(60), np.random.default_rng(0), n_permutations=999) == pytest.approx(0.001)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_holm_leaves_missing_comparisons_out_of_the_family() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
    assert holm(np.array([])).tolist() == []

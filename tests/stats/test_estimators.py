from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from cegppo_verl.stats import avg_at_k, maj_at_k, moving_mean, pass_at_k, problem_counts

NAN = float("nan")


def test_avg_is_the_mean_over_problems_of_the_mean_over_samples() -> None:
    assert avg_at_k(np.array([[1, 1, 1, 1], [0, 0, NAN, NAN]])) == 0.5  # and not 4/6


def test_avg_over_seeds_and_with_a_missing_problem() -> None:
    assert avg_at_k(np.array([[[1.0], [1.0]], [[0.0], [NAN]]])) == 0.5
    assert np.isnan(avg_at_k(np.full((3, 2), NAN)))


@pytest.mark.parametrize("bad", [np.array([[0.5]]), np.array([[2.0]]), np.array([1.0, 0.0])])
def test_anything_but_verdicts_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="correct must"):
        problem_counts(bad)


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_one(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    verdicts = [1] * c + [0] * (n - c)
    exact = np.mean([max(subset) for subset in combinations(verdicts, k)])
    assert pass_at_k(np.array(n), np.array(c), k) == pytest.approx(exact, abs=1e-12)


def test_pass_at_32_of_32_with_one_correct_is_certain() -> None:
    assert pass_at_k(np.array([32]), np.array([1]), 32).tolist() == [1.0]  # verl's best@N says .638


def test_pass_at_k_with_too_few_samples_is_no_number_and_k_0_is_refused() -> None:
    np.testing.assert_equal(pass_at_k(np.array([3, 4]), np.array([0, 0]), 4), [NAN, 0.0])
    assert not np.signbit(pass_at_k(np.array([4]), np.array([0]), 2))[0]
    with pytest.raises(ValueError, match="k must be"):
        pass_at_k(np.array([1]), np.array([1]), 0)


def test_pass_at_k_stays_exact_for_many_samples() -> None:
    assert pass_at_k(np.array(10_000), np.array(1), 100) == pytest.approx(0.01, rel=1e-9)


def test_moving_mean_by_hand() -> None:
    # middle: means of three; ends: the line through (0, 3, 6) at 0, through (3, 6, 0) at its last place
    assert moving_mean(np.array([0.0, 3.0, 6.0, 0.0]), 3).tolist() == pytest.approx([0.0, 3.0, 3.0, 1.5])
    assert moving_mean(np.array([1.0, 5.0]), 3).tolist() == [1.0, 5.0]
    assert moving_mean(np.array([]), 3).tolist() == []


@pytest.mark.parametrize("window", [3, 5, 7])
def test_moving_mean_is_a_savitzky_golay_filter_of_order_1(window: int) -> None:
    values = np.random.default_rng(0).normal(size=20)
    np.testing.assert_allclose(moving_mean(values, window), savgol_filter(values, window, 1))


def test_moving_mean_leaves_a_straight_line_alone() -> None:
    line = np.arange(20.0)
    np.testing.assert_allclose(moving_mean(line, 7), line)


def test_majority_by_hand() -> None:
    answers = np.array([[7, 7, 8, 9], [7, 7, 8, 8], [-1, -1, -1, 5], [1, 2, 3, 4], [-1, -1, -1, -1]])
    correct = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
    found = maj_at_k(answers, correct, 4, np.random.default_rng(0))
    assert found.tolist() == [[1.0, 0.5, 1.0, 0.25, 0.0]]


def test_majority_of_fewer_samples_is_the_mean_over_subsets() -> None:
    answers, correct = np.array([[1, 1, 2, 2, 3]]), np.array([[1, 1, 0, 0, 0]])

    def share(subset: tuple[int, ...]) -> float:
        votes = np.bincount([answers[0, i] for i in subset], minlength=4)
        top = np.flatnonzero(votes == votes.max())
        return float(1 in top) / len(top)

    exact = np.mean([share(subset) for subset in combinations(range(5), 3)])
    found = maj_at_k(answers, correct, 3, np.random.default_rng(0), draws=20_000)
    assert found[0, 0] == pytest.approx(exact, abs=0.01)


def test_majority_of_one_is_the_mean_and_too_few_samples_give_none() -> None:
    answers, correct = np.array([[1, 2, 3, 4]]), np.array([[1, 0, 0, NAN]])
    assert maj_at_k(answers, correct, 1, np.random.default_rng(0), draws=20_000)[0, 0] == pytest.approx(
        1 / 3, abs=0.02
    )
    assert np.isnan(maj_at_k(answers, correct, 4, np.random.default_rng(0))[0, 0])

"""Two one-sided tests against statsmodels' arithmetic written out with scipy, and their error rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cegppo_verl.stats.equivalence import agreement


def test_p_and_interval_are_those_of_two_one_sided_welch_tests() -> None:
    source = np.random.default_rng(1)
    a, b = source.normal(0.5, 0.1, 5), source.normal(0.52, 0.05, 20)
    found = agreement(a, b, 0.15)
    below = stats.ttest_ind(a + 0.15, b, equal_var=False, alternative="greater").pvalue
    above = stats.ttest_ind(a - 0.15, b, equal_var=False, alternative="less").pvalue
    assert found.p_value == pytest.approx(max(below, above))
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))
    assert found.agree == (interval.low > -0.15 and interval.high < 0.15)


def test_at_the_margin_itself_it_agrees_wrongly_in_one_case_of_twenty() -> None:
    source = np.random.default_rng(2)
    wrong = [
        agreement(source.normal(0.1, 0.05, 5), source.normal(0.0, 0.05, 20), 0.1).agree for _ in range(2000)
    ]
    assert 0.03 < np.mean(wrong) < 0.07


def test_equal_groups_agree_only_with_enough_runs() -> None:
    source = np.random.default_rng(3)
    many = agreement(source.normal(0, 0.1, 40), source.normal(0, 0.1, 40), 0.1)
    few = agreement(source.normal(0, 0.1, 2), source.normal(0, 0.1, 2), 0.1)
    assert many.agree
    assert not few.agree
    assert not few.differ


def test_far_groups_differ_and_single_runs_tell_nothing() -> None:
    assert agreement(np.array([1.0, 1.01]), np.array([0.0, 0.01]), 0.1).differ
    single = agreement(np.array([1.0]), np.array([1.0, 1.1]), 0.5)
    assert not single.agree
    assert not single.differ


@pytest.mark.parametrize(
    ("a", "b", "margin"), [([], [1.0], 1.0), ([np.nan], [1.0], 1.0), ([1.0, 2.0], [1.0, 2.0], 0.0)]
)
def test_what_cannot_be_compared_is_refused(a: list[float], b: list[float], margin: float) -> None:
    with pytest.raises(ValueError, match=r"needed|margin"):
        agreement(np.array(a), np.array(b), margin)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp, ttest_ind

from cegppo_verl.stats import difference_interval, mean_interval
from cegppo_verl.stats.crossed import Spread, interaction_mean_square, satterthwaite, spread
from cegppo_verl.stats.simulate import World

SCORES = np.array([[0.2, 0.5, 0.9, 0.4, 0.7], [0.3, 0.6, 0.8, 0.2, 0.9], [0.1, 0.6, 1.0, 0.5, 0.6]])
OTHER = np.array([[0.1, 0.3, 0.7, 0.3, 0.7], [0.2, 0.5, 0.6, 0.2, 0.5]])
tables = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((3, 6)))


def test_mean_squares_are_those_of_a_two_way_analysis_of_variance() -> None:
    """statsmodels 0.15: residual sum 0.138667 on 8; mean squares: seeds 0.000667, problems 0.234333."""
    assert interaction_mean_square(SCORES) == pytest.approx(0.138667 / 8, abs=1e-7)
    found = spread([[SCORES]], [SCORES], "seeds and problems")
    assert found.problem == pytest.approx(0.234333 / 15, abs=1e-7)
    assert found.seed == 0.0  # the seeds differ less than the noise: 0.000667 < 0.017333
    assert found.problem_df == pytest.approx(4)


def test_the_seed_part_by_hand() -> None:
    """Seed means .1, .5, .9: variance .16 over 3 seeds; no interaction, so no noise to take off."""
    table = np.array([0.1, 0.5, 0.9])[:, None] + np.array([-0.1, 0.0, 0.1])
    found = spread([[table]], [table], "seeds and problems")
    assert (found.seed, found.seed_df) == pytest.approx((0.16 / 3, 2))
    assert (found.problem, found.problem_df) == pytest.approx((0.01 / 3, 2))


def test_noise_is_taken_off_the_seed_part_once() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((4, 9)) + np.array([0.0, 0.3, 0.6, 0.9])[:, None]
    expected = table.mean(1).var(ddof=1) / 4 - interaction_mean_square(table) / 36
    assert spread([[table]], [table], "seeds and problems").seed == pytest.approx(expected)


def test_the_half_width_adds_the_parts_own_t_half_widths_by_squares() -> None:
    found = Spread(0.0004, 2, 0.0009, 29)
    by_hand = np.hypot(t.ppf(0.975, 2) * 0.02, t.ppf(0.975, 29) * 0.03)
    assert found.half_width(0.95) == pytest.approx(by_hand)
    assert Spread(0.0, np.nan, 0.0, np.nan).half_width(0.95) == 0.0


def test_over_seeds_is_scipy_s_t_interval_of_the_seeds_means() -> None:
    """Also statsmodels' DescrStatsW(...).tconfint_mean(): 0.5246490, 0.5820177."""
    found = mean_interval([SCORES], over="seeds")
    interval = ttest_1samp(SCORES.mean(1), 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.low, found.high) == pytest.approx((0.5246490, 0.5820177), abs=1e-7)


def test_over_seeds_a_difference_is_scipy_s_welch_test() -> None:
    found = difference_interval([SCORES], [OTHER], over="seeds")
    welch = ttest_ind(SCORES.mean(1), OTHER.mean(1), equal_var=False)
    interval = welch.confidence_interval()
    assert found.p_value == pytest.approx(welch.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))


def test_over_problems_a_difference_is_scipy_s_paired_t_test() -> None:
    found = difference_interval([SCORES], [OTHER], over="problems")
    paired = ttest_1samp(SCORES.mean(0) - OTHER.mean(0), 0)
    assert found.p_value == pytest.approx(paired.pvalue)
    assert found.interval.low == pytest.approx(paired.confidence_interval().low)
    assert found.interval.scope == "these runs, new problems"


def test_difficulty_that_the_arms_share_is_paired_away() -> None:
    rng = np.random.default_rng(1)
    shared = rng.uniform(-0.4, 0.4, 40)
    a, b = (0.5 + shared + 0.02 * rng.standard_normal((3, 40)) for _ in range(2))
    half = [i.high - i.low for i in (difference_interval([a], [b]).interval, mean_interval([a]))]
    assert half[0] < 0.2 * half[1]


def test_a_macro_average_weighs_benchmarks_and_not_problems() -> None:
    rng = np.random.default_rng(0)
    easy, hard = 0.9 + 0.05 * rng.random((3, 200)), 0.1 * rng.random((3, 4))
    found = mean_interval([easy, hard])
    assert found.point == pytest.approx((easy.mean() + hard.mean()) / 2)
    assert found.problems == 204


def test_the_luck_of_a_run_is_shared_by_its_benchmarks() -> None:
    """Five copies of a benchmark with seeds that differ: no more certain than one about new seeds."""
    seeds = np.array([0.2, 0.5, 0.8])[:, None] + np.zeros((3, 20))
    one, five = (mean_interval([seeds] * count, over="seeds") for count in (1, 5))
    assert (five.low, five.high) == pytest.approx((one.low, one.high))


def test_benchmarks_are_strata() -> None:
    """The gap between benchmarks is no part of the uncertainty."""
    flat = 0.01 * np.random.default_rng(0).standard_normal((2, 50))
    found = mean_interval([0.1 + flat, 0.9 + flat])
    assert found.high - found.low < 0.02


def test_one_seed_is_conditional_on_the_run_and_says_so() -> None:
    found = mean_interval([SCORES[:1]])
    assert found.scope == "these runs, new problems"
    assert np.isfinite([found.low, found.high]).all()
    assert mean_interval([SCORES]).scope == "new seeds and problems"
    assert np.isnan(mean_interval([SCORES[0]], over="seeds").low)
    assert difference_interval([SCORES], [OTHER[:1]]).interval.scope == "these runs, new problems"


def test_a_problem_without_samples_of_some_seed_is_left_out() -> None:
    holed = SCORES.copy()
    holed[1, 2] = np.nan
    assert mean_interval([holed]) == mean_interval([np.delete(SCORES, 2, axis=1)])
    assert difference_interval([holed], [OTHER]).interval.problems == 4


def test_all_right_is_no_certainty_and_the_interval_stays_within_0_and_1() -> None:
    found = mean_interval([np.ones((3, 50))])
    assert (found.low, found.high, found.method) == (pytest.approx(0.025 ** (1 / 50)), 1.0, "clopper-pearson")
    almost = np.ones((2, 30))
    almost[:, 0] = 0.0
    assert mean_interval([almost]).high == 1.0


@pytest.mark.parametrize("scores", [np.zeros((2, 1)), np.full((2, 0), 0.5)])
def test_too_few_problems_give_no_interval(scores: np.ndarray) -> None:
    assert np.isnan(difference_interval([scores], [scores + 0.1]).p_value)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="same runs"):
        mean_interval([SCORES, OTHER])
    with pytest.raises(ValueError, match="same runs"):
        mean_interval([])
    with pytest.raises(ValueError, match="share benchmarks"):
        difference_interval([SCORES], [OTHER[:, :3]])
    with pytest.raises(ValueError, match="over must"):
        mean_interval([SCORES], over="samples")  # type: ignore[arg-type]


def test_equal_arms_have_p_1_and_a_sure_gap_has_a_tiny_one() -> None:
    assert difference_interval([SCORES], [SCORES]).p_value == pytest.approx(1.0)
    assert difference_interval([np.full((3, 5), 0.5)], [np.full((3, 5), 0.5)]).p_value == 1.0
    assert difference_interval([np.full((3, 5), 0.7)], [np.full((3, 5), 0.5)]).p_value <= 1e-12


@given(tables, tables, st.sampled_from(["seeds and problems", "seeds", "problems"]))
@settings(max_examples=40, deadline=None)
def test_p_value_and_interval_agree_and_swapping_arms_mirrors(a: np.ndarray, b: np.ndarray, over) -> None:  # type: ignore[no-untyped-def]
    one, two = difference_interval([a], [b], over=over), difference_interval([b], [a], over=over)
    assert (one.p_value < 0.05) == one.interval.excludes_zero
    assert (one.interval.low, one.interval.high) == pytest.approx((-two.interval.high, -two.interval.low))
    assert one.p_value == pytest.approx(two.p_value)


@given(tables, st.floats(0.01, 3), st.permutations(range(3)), st.permutations(range(6)))
@settings(max_examples=40, deadline=None)
def test_order_does_not_matter_and_the_width_scales(table, factor, seeds, problems) -> None:  # type: ignore[no-untyped-def]
    base = spread([[table]], [table], "seeds and problems")
    moved = table[seeds][:, problems]
    assert spread([[moved]], [moved], "seeds and problems").standard_error == pytest.approx(
        base.standard_error
    )
    scaled = factor * table
    found = spread([[scaled]], [scaled], "seeds and problems")
    assert found.half_width(0.95) == pytest.approx(factor * base.half_width(0.95))


def test_satterthwaite_by_hand() -> None:
    assert satterthwaite(np.array([1.0, 1.0]), [4, 4]) == pytest.approx(8)
    assert satterthwaite(np.array([1.0, 0.0]), [4, 9]) == pytest.approx(4)
    assert np.isnan(satterthwaite(np.zeros(2), [4, 9]))


@pytest.mark.parametrize(("seeds", "problems"), [(3, 30), (3, 300)])
def test_coverage_with_three_seeds(seeds: int, problems: int) -> None:
    """The standard error of a share of .95 over 500 is .010; reports/statistics.md has more of it."""
    world, rng = World(), np.random.default_rng(11)
    truth, gap, held = world.truth(), world.truth(0.15) - world.truth(), []
    for _ in range(500):
        p = world.problems(rng, problems)
        a, b = (world.right(rng, world.arm(rng, p, s), world.seeds(rng, seeds), 8) / 8 for s in (0.15, 0.0))
        mean, difference = mean_interval([b]), difference_interval([a], [b]).interval
        held.append((mean.low <= truth <= mean.high, difference.low <= gap <= difference.high))
    assert np.mean(held, axis=0) == pytest.approx([0.955, 0.955], abs=0.03)

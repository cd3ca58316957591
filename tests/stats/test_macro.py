from __future__ import annotations

import numpy as np
import pytest

from cegppo_verl.stats import (
    bootstrap_accuracy,
    bootstrap_macro,
    bootstrap_macro_difference,
    paired_difference,
)
from cegppo_verl.stats.macro import _arm, macro_replicates
from cegppo_verl.stats.simulate import World


def evaluation(rng: np.random.Generator, seeds: int = 3, problems: int = 40, samples: int = 4) -> np.ndarray:
    world = World()
    arm = world.arm(rng, world.problems(rng, problems))
    right = world.right(rng, arm, world.seeds(rng, seeds), samples)
    return (np.arange(samples) < right[..., None]).astype(float)


@pytest.mark.parametrize("unit", ["seed", "problem", "sample"])
def test_one_benchmark_is_the_same_as_the_bootstrap_that_draws_every_verdict(unit) -> None:  # type: ignore[no-untyped-def]
    correct = evaluation(np.random.default_rng(0))
    slow = bootstrap_accuracy(correct, np.random.default_rng(1), unit=unit, n_resamples=8000)
    fast = bootstrap_macro([correct], np.random.default_rng(2), unit=unit, n_resamples=8000)
    width = slow.high - slow.low
    assert fast.point == pytest.approx(slow.point)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.05 * width)


@pytest.mark.parametrize("unit", ["seed", "problem"])
def test_a_paired_difference_too(unit) -> None:  # type: ignore[no-untyped-def]
    """An arm against a noisy copy of itself: drawing problems per arm would be several times wider."""
    a = evaluation(np.random.default_rng(0), problems=60)
    b = np.where(np.random.default_rng(1).random(a.shape) < 0.1, 1 - a, a)
    slow = paired_difference(a, b, np.random.default_rng(2), unit=unit, n_resamples=8000).interval
    fast = bootstrap_macro_difference([a], [b], np.random.default_rng(3), unit=unit, n_resamples=8000)
    assert fast.point == pytest.approx(slow.point)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.05 * (slow.high - slow.low))


def test_the_standard_error_by_hand_one_sample_per_problem() -> None:
    """Two benchmarks with all samples alike per problem: Var = Σ p(1−p)/P / 4."""
    one, two = np.repeat([1.0, 0.0], [10, 30])[:, None], np.repeat([1.0, 0.0], [50, 50])[:, None]
    replicates = macro_replicates([(1.0, _arm([one, two]))], np.random.default_rng(0), "problem", 40_000)
    expected = np.sqrt((0.25 * 0.75 / 40 + 0.25 / 100) / 4)
    assert replicates.std() == pytest.approx(expected, rel=0.02)
    assert replicates.mean() == pytest.approx(0.375, abs=0.001)


def test_seeds_are_drawn_once_for_all_benchmarks() -> None:
    """Run 1 solves everything, run 2 nothing, on every benchmark: half of the draws are all or nothing."""
    runs = np.stack([np.ones((10, 1)), np.zeros((10, 1))])
    replicates = macro_replicates([(1.0, _arm([runs] * 5))], np.random.default_rng(0), "seed", 4000)
    assert set(np.round(replicates, 9)) == {0.0, 0.5, 1.0}
    assert replicates.std() == pytest.approx(np.sqrt(0.125), rel=0.05)


def test_benchmarks_are_strata() -> None:
    sure = [np.ones((1, 20, 2)), np.zeros((1, 20, 2))]
    found = bootstrap_macro(sure, np.random.default_rng(0))
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_missing_problems_are_left_out_and_the_generator_decides() -> None:
    correct = evaluation(np.random.default_rng(0))
    holed = np.concatenate([correct, np.full((3, 2, 4), np.nan)], axis=1)
    full, less, again = (bootstrap_macro([x], np.random.default_rng(5)) for x in (correct, holed, correct))
    assert full == less == again
    assert bootstrap_macro([correct], np.random.default_rng(6)) != full


def test_bad_input_is_refused_and_too_little_gives_no_interval() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="same runs"):
        bootstrap_macro([np.ones((2, 3, 1)), np.ones((1, 3, 1))], rng)
    with pytest.raises(ValueError, match="share benchmarks"):
        bootstrap_macro_difference([np.ones((2, 3, 1))], [np.ones((2, 4, 1))], rng)
    with pytest.raises(ValueError, match="unit must"):
        bootstrap_macro([evaluation(rng)], rng, unit="seeds")  # type: ignore[arg-type]
    assert np.isnan(bootstrap_macro([np.array([[[1.0, 0.0]]])], rng).low)
    assert bootstrap_macro([np.ones((2, 3, 1))], rng).method == "clopper-pearson"

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from cegppo_verl.stats import Interval, bootstrap_accuracy, bootstrap_curves, bootstrap_pass_at_k

NAN = float("nan")


def table(rng: np.random.Generator, seeds: int, problems: int, samples: int, sd: float = 0.0) -> np.ndarray:
    """Uniform difficulty, so that the true mean is ½; ``sd`` is the training seeds' effect on the logit."""
    difficulty = rng.random(problems)
    logit = np.log(difficulty / (1 - difficulty)) + rng.normal(0, sd, (seeds, 1))
    return (rng.random((seeds, problems, samples)) < 1 / (1 + np.exp(-logit))[..., None]).astype(float)


def coverage(draw, interval, truth: float = 0.5, repeats: int = 300) -> float:
    rng = np.random.default_rng(5)
    found = [interval(draw(rng), rng) for _ in range(repeats)]
    return float(np.mean([i.low <= truth <= i.high for i in found]))


accuracy = partial(bootstrap_accuracy, n_resamples=300)


def test_a_nominal_95_per_cent_interval_covers_the_truth_that_often() -> None:
    assert 0.90 <= coverage(lambda rng: table(rng, 1, 30, 32), accuracy) <= 0.985


def test_resampling_samples_only_misses_most_of_the_time() -> None:
    """The spread across repeats says nothing about other problems: facts of the field, 24 %."""
    only_samples = coverage(lambda rng: table(rng, 1, 30, 32), partial(accuracy, unit="sample"))
    assert only_samples < 0.5


def test_leaving_out_the_seeds_is_too_narrow_when_seeds_matter() -> None:
    with_seeds = coverage(lambda rng: table(rng, 6, 60, 4, sd=1.2), accuracy, repeats=150)
    without = coverage(
        lambda rng: table(rng, 6, 60, 4, sd=1.2), partial(accuracy, unit="problem"), repeats=150
    )
    assert with_seeds >= 0.85
    assert without <= with_seeds - 0.15


def test_problems_are_shared_by_the_seeds() -> None:
    """100 identical seeds know no more about other problems than one."""
    one = np.repeat(np.array([[1.0], [0.0]] * 10), 50, axis=1)[None]
    many = np.repeat(one, 20, axis=0)
    widths = [(lambda i: i.high - i.low)(accuracy(t, np.random.default_rng(0))) for t in (one, many)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_the_standard_error_is_the_textbook_one() -> None:
    """One sample per problem, 100 of 400 right: ± 1.96 √(pq/n)."""
    interval = bootstrap_accuracy(
        np.repeat([1.0, 0, 0, 0], 100)[:, None], np.random.default_rng(0), n_resamples=8000
    )
    half = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert interval.point == 0.25
    assert [interval.low, interval.high] == pytest.approx([0.25 - half, 0.25 + half], abs=0.004)
    assert (interval.seeds, interval.problems, interval.method) == (1, 400, "bootstrap")


def test_the_generator_decides() -> None:
    correct = table(np.random.default_rng(0), 2, 20, 3)
    same = [bootstrap_accuracy(correct, np.random.default_rng(1)) for _ in range(2)]
    assert same[0] == same[1]
    assert bootstrap_accuracy(correct, np.random.default_rng(2)) != same[0]


@pytest.mark.parametrize(
    ("value", "low", "high"), [(1.0, 0.025 ** (1 / 50), 1.0), (0.0, 0.0, 1 - 0.025 ** (1 / 50))]
)
def test_all_alike_is_not_certainty(value: float, low: float, high: float) -> None:
    found = bootstrap_accuracy(np.full((50, 2), value), np.random.default_rng(0))
    assert [found.point, found.low, found.high] == pytest.approx([value, low, high])
    assert found.method == "clopper-pearson"


def test_one_problem_has_no_interval() -> None:
    found = bootstrap_accuracy(np.array([[1.0, 0.0]]), np.random.default_rng(0))
    assert found.point == 0.5
    assert np.isnan([found.low, found.high]).all()
    assert not found.excludes_zero


def test_missing_samples_are_no_zeros() -> None:
    full, holes = np.array([[1.0, 0.0]] * 30), np.array([[1.0, 0.0, NAN]] * 30)
    assert [accuracy(t, np.random.default_rng(3)) for t in (full, holes)] == [
        accuracy(full, np.random.default_rng(3))
    ] * 2


def test_pass_at_k_of_one_right_in_32_is_certain() -> None:
    correct = np.zeros((20, 32))
    correct[:, 5] = 1
    assert bootstrap_pass_at_k(correct, 32, np.random.default_rng(0)).point == 1.0
    half = bootstrap_pass_at_k(np.vstack([correct[:10], np.zeros((10, 32))]), 32, np.random.default_rng(0))
    assert half.point == 0.5
    assert half.low == pytest.approx(0.3, abs=0.051)
    assert half.high == pytest.approx(0.7, abs=0.051)


def test_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="unit must be"):
        bootstrap_accuracy(np.array([[1.0], [0.0]]), np.random.default_rng(0), unit="seeds")  # type: ignore[arg-type]


def test_curves_mean_and_band_by_hand() -> None:
    band = bootstrap_curves(np.array([[0.0, 10.0], [1.0, 20.0]]), np.random.default_rng(0))
    assert band.point.tolist() == [0.5, 15.0]
    assert (band.low.tolist(), band.high.tolist()) == ([0.0, 10.0], [1.0, 20.0])
    alone = bootstrap_curves(np.array([[1.0, 2.0]]), np.random.default_rng(0))
    assert np.isnan(alone.low).all()
    assert np.isnan(alone.high).all()


def test_interval_relations() -> None:
    def interval(low: float, high: float) -> Interval:
        return Interval((low + high) / 2, low, high, 0.95, 1, 10)

    assert interval(0.1, 0.2).excludes_zero
    assert not interval(0.0, 0.2).excludes_zero
    assert interval(-0.2, -0.1).excludes_zero
    assert interval(0, 2).overlaps(interval(2, 3))
    assert not interval(0, 1).overlaps(interval(2, 3))

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, trim_mean

from cegppo_verl.stats import (
    aggregate,
    improvement,
    iqm,
    median_of_means,
    optimality_gap,
    probability_of_improvement,
    profile,
    profile_band,
)

X = np.array([[1.0, 2], [2, 2], [1, 1], [2, 1]])
Y = np.array([[1.0, 1], [2, 2], [3, 3]])


@pytest.fixture(scope="module")
def atari() -> dict[str, np.ndarray]:
    """Human-normalised scores, (runs, 26 games)."""
    data = json.loads(Path(__file__).with_name("atari_100k.json").read_text())
    random, human = np.array(data["random"]), np.array(data["human"])
    return {name: ((np.array(data[name]).T - random) / (human - random)) for name in ("SPR", "SimPLe")}


def test_rliable_s_own_unit_test() -> None:
    assert (median_of_means(X), X.mean(), iqm(X)) == (1.5, 1.5, 1.5)
    assert (median_of_means(Y), Y.mean(), iqm(Y)) == (2, 2, 2)
    assert probability_of_improvement(X, Y) == pytest.approx(1 / 3)


def test_numbers_that_rliable_published_on_atari_100k(atari) -> None:  # type: ignore[no-untyped-def]
    """Printed in its notebook deep_rl_precipice_colab.ipynb."""
    assert median_of_means(atari["SPR"]) == pytest.approx(0.39562938291779215, abs=1e-9)
    assert atari["SPR"].mean() == pytest.approx(0.6157957428691673, abs=1e-9)
    assert median_of_means(atari["SimPLe"]) == pytest.approx(0.13405558483729887, abs=1e-9)
    assert atari["SimPLe"].mean() == pytest.approx(0.3319978533732483, abs=1e-9)


def test_numbers_that_rliable_computes_on_them(atari) -> None:  # type: ignore[no-untyped-def]
    """rliable 1.2.0: aggregate_iqm, aggregate_optimality_gap, probability_of_improvement."""
    assert iqm(atari["SPR"]) == pytest.approx(0.33664931949376936, abs=1e-9)
    assert optimality_gap(atari["SPR"]) == pytest.approx(0.5773017532342755, abs=1e-9)
    assert iqm(atari["SimPLe"]) == pytest.approx(0.12958780305057785, abs=1e-9)
    assert optimality_gap(atari["SimPLe"]) == pytest.approx(0.7289309097768772, abs=1e-9)
    found = probability_of_improvement(atari["SPR"][:10], atari["SimPLe"])
    assert found == pytest.approx(0.6946153846153847)


@pytest.mark.parametrize(
    ("unit", "low", "high"), [("run", 0.34439, 0.40972), ("run and task", 0.20154, 0.67053)]
)
def test_intervals_are_rliable_s_up_to_their_own_randomness(atari, unit, low, high) -> None:  # type: ignore[no-untyped-def]
    """IQM of the first 10 SPR runs, 20,000 replicates of rliable 1.2.0 (its random_state argument mended)."""
    found = aggregate(
        atari["SPR"][:10], iqm, np.random.default_rng(0), unit=unit, method="percentile", n_resamples=10_000
    )
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02 * (high - low) + 0.001)


def test_the_interval_of_an_improvement_is_rliable_s(atari) -> None:  # type: ignore[no-untyped-def]
    found = improvement(
        atari["SPR"][:10], atari["SimPLe"], np.random.default_rng(0), unit="run", method="percentile"
    )
    assert found.point == pytest.approx(0.69461538)
    assert (found.low, found.high) == pytest.approx((0.64846, 0.73770), abs=0.006)


@pytest.mark.parametrize("shape", [(3, 5), (10, 26), (1, 1), (7, 3)])
def test_iqm_is_scipy_s_trimmed_mean_and_improvement_its_u(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, shape).astype(float), rng.integers(0, 5, (4, shape[1])).astype(float)
    assert iqm(x) == pytest.approx(trim_mean(x, 0.25, axis=None))
    u = [mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(x.T, y.T, strict=True)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(u))
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)


def test_statistics_are_vectorised_over_leading_axes() -> None:
    many = np.random.default_rng(0).random((6, 4, 5))
    for statistic in (iqm, optimality_gap, median_of_means, lambda s: profile(s, np.array([0.2, 0.7]))):
        np.testing.assert_allclose(statistic(many), [statistic(one) for one in many])


def test_a_profile_is_the_share_strictly_above() -> None:
    scores = np.array([[0.0, 0.5], [0.5, 1.0]])
    assert profile(scores, np.array([-1.0, 0.0, 0.5, 0.9, 1.0])).tolist() == [1.0, 0.75, 0.25, 0.25, 0.0]
    band = profile_band(scores, np.array([0.25]), np.random.default_rng(0))
    assert (band.point.tolist(), band.low.tolist(), band.high.tolist()) == ([0.75], [0.5], [1.0])


def test_a_run_scored_on_all_tasks_is_drawn_whole() -> None:
    """Runs that differ alike on 20 tasks: drawn per task, the mean would seem √20 times surer."""
    scores = np.linspace(0, 1, 8)[:, None] + np.zeros((8, 20))
    wide, narrow = (
        aggregate(scores, iqm, np.random.default_rng(0), unit=unit, method="percentile")  # type: ignore[arg-type]
        for unit in ("shared run", "run")
    )
    assert (wide.high - wide.low) > 3 * (narrow.high - narrow.low)


def test_the_t_interval_of_a_mean_is_the_textbook_one() -> None:
    scores = np.random.default_rng(0).random((5, 1))
    found = aggregate(scores, lambda s: s.mean((-2, -1)), np.random.default_rng(1), n_resamples=40_000)
    half = 2.7764 * scores.std(ddof=1) / np.sqrt(5)
    assert found.high - found.point == pytest.approx(half, rel=0.02)


def test_one_run_has_no_interval_and_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    assert np.isnan(aggregate(np.ones((1, 3)), iqm, rng).low)
    with pytest.raises(ValueError, match="finite matrix"):
        aggregate(np.array([[np.nan, 1.0]]), iqm, rng)
    with pytest.raises(ValueError, match="unit must"):
        aggregate(X, iqm, rng, unit="task")  # type: ignore[arg-type]
    assert improvement(X + 10, Y, rng).high == 1.0

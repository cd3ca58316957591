from __future__ import annotations

import numpy as np
import pytest

from cegppo_verl.stats.selection import selection_bias, shrunk


def world(spread: float, rng: np.random.Generator, steps: int = 20, problems: int = 30) -> np.ndarray:
    """True accuracies (steps, problems): hard and easy problems, a shift per checkpoint."""
    level = rng.beta(0.6, 0.8, problems) * 0.8 + 0.1
    return (level + spread * rng.standard_normal((steps, 1))).clip(0, 1)


def excess(c: np.ndarray, n: int, truth: np.ndarray) -> float:
    best = (c / n).mean(1).argmax()
    return float(c[best].mean() / n - truth[best].mean())


@pytest.mark.parametrize(("spread", "n"), [(0.0, 32), (0.0, 8), (0.02, 32), (0.3, 32)])
def test_the_estimate_is_the_bias_on_average(spread: float, n: int) -> None:
    rng = np.random.default_rng(5)
    real, estimated = [], []
    for _ in range(60):
        truth = world(spread, rng)
        c = rng.binomial(n, truth)
        real += [excess(rng.binomial(n, truth), n, truth) for _ in range(20)]
        estimated.append(selection_bias(np.full_like(c, n), c, rng, draws=40))
    assert np.mean(estimated) == pytest.approx(np.mean(real), rel=0.25, abs=0.001)


def test_shrinking_removes_the_noise_and_keeps_a_real_spread() -> None:
    rng = np.random.default_rng(6)
    kept = {}
    for spread in (0.0, 0.15):
        ratios = []
        for _ in range(40):
            truth = world(spread, rng)
            c = rng.binomial(8, truth)
            found = shrunk(np.full_like(c, 8), c).mean(1).std()
            ratios.append(found / (c / 8).mean(1).std())
        kept[spread] = np.mean(ratios)
    assert kept[0.0] < 0.5
    assert kept[0.15] > 0.9


def test_one_checkpoint_has_no_bias_and_many_alike_have_more() -> None:
    rng = np.random.default_rng(7)
    truth = np.full((40, 30), 0.5)
    c = rng.binomial(8, truth)
    n = np.full_like(c, 8)
    assert selection_bias(n[:1], c[:1], rng) == 0
    assert 0 < selection_bias(n[:3], c[:3], rng) < selection_bias(n, c, rng)


def test_certain_answers_have_no_bias() -> None:
    c = np.tile([[0, 8]], (5, 1))
    assert selection_bias(np.full_like(c, 8), c, np.random.default_rng(0)) == 0


def test_bad_shapes_are_refused() -> None:
    rng = np.random.default_rng(0)
    for n, c in (([1, 2], [1, 2]), ([[0, 1]], [[0, 1]]), ([[1]], [[1, 1]])):
        with pytest.raises(ValueError, match="checkpoints, problems"):
            selection_bias(np.array(n), np.array(c), rng)

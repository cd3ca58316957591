from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from cegppo_verl.stats import fit_entropy, fit_sigmoid
from cegppo_verl.stats.fits import autocorrelation

COMPUTE = np.arange(1, 41) * 25.0
ENTROPY = np.linspace(1.0, 0.1, 8)
REWARD = np.array([0.12, 0.2, 0.27, 0.31, 0.36, 0.42, 0.44, 0.47])


def sigmoid(compute, a, b, middle, start=0.1):  # type: ignore[no-untyped-def]
    return start + (a - start) / (1 + (middle / compute) ** b)


@pytest.mark.parametrize(("a", "b", "middle"), [(0.6, 1.5, 300.0), (0.35, 3.0, 120.0), (0.9, 0.7, 900.0)])
def test_an_exact_sigmoid_is_found_again(a: float, b: float, middle: float) -> None:
    fit = fit_sigmoid(COMPUTE, sigmoid(COMPUTE, a, b, middle), np.random.default_rng(0), start=0.1)
    assert [fit.values[k].point for k in ("A", "B", "C_mid")] == pytest.approx([a, b, middle], rel=1e-4)
    assert fit.residual_sd < 1e-5
    np.testing.assert_allclose(fit.curve, sigmoid(COMPUTE, a, b, middle), atol=1e-5)


def test_half_the_gain_is_reached_at_c_mid() -> None:
    assert sigmoid(300.0, 0.6, 1.5, 300.0) == pytest.approx(0.35)


def test_a_noisy_sigmoid_agrees_with_scipy_s_curve_fit() -> None:
    reward = sigmoid(COMPUTE, 0.6, 1.5, 300.0) + 0.02 * np.random.default_rng(0).standard_normal(40)
    fit = fit_sigmoid(COMPUTE, reward, np.random.default_rng(1), start=0.1)
    scipy = curve_fit(lambda c, *p: sigmoid(c, *p), COMPUTE, reward, p0=(0.5, 1.0, 250.0))[0]
    assert [fit.values[k].point for k in ("A", "B", "C_mid")] == pytest.approx(list(scipy), rel=1e-3)


def test_a_curve_that_has_not_bent_yet_has_a_wide_asymptote_and_stays_below_the_ceiling() -> None:
    early = sigmoid(COMPUTE, 0.8, 1.0, 3000.0) + 0.005 * np.random.default_rng(0).standard_normal(40)
    late = sigmoid(COMPUTE, 0.8, 1.0, 100.0) + 0.005 * np.random.default_rng(0).standard_normal(40)
    found = [fit_sigmoid(COMPUTE, y, np.random.default_rng(1), start=0.1).values["A"] for y in (early, late)]
    assert found[0].high - found[0].low > 5 * (found[1].high - found[1].low)
    assert found[0].high <= 1.0


def test_the_entropy_law_is_statsmodels_least_squares() -> None:
    """statsmodels 0.15 OLS(R ~ 1 + exp(H)): 0.71627126, −0.21693114."""
    values = fit_entropy(ENTROPY, REWARD, np.random.default_rng(0)).values
    assert (values["b"].point, values["a"].point) == pytest.approx((0.71627126, 0.21693114), abs=1e-7)
    assert values["ceiling"].point == pytest.approx(0.71627126 - 0.21693114, abs=1e-7)


def test_seeds_are_the_unit_when_there_are_some() -> None:
    """Three runs that differ by a constant: their b is as uncertain as a mean of three, a is not."""
    runs = REWARD + np.array([[-0.05], [0.0], [0.05]])
    fit = fit_entropy(ENTROPY, runs, np.random.default_rng(0), n_resamples=20_000)
    half = 4.3027 * 0.05 / np.sqrt(3)
    assert fit.unit == "seed"
    assert fit.values["b"].high - fit.values["b"].point == pytest.approx(half, rel=0.03)
    assert fit.values["a"].high - fit.values["a"].low < 1e-9
    points = fit_entropy(ENTROPY, runs, np.random.default_rng(0), unit="point")
    assert points.values["b"].high - points.values["b"].low < half


def test_each_seed_may_have_its_own_entropies() -> None:
    entropy = np.stack([ENTROPY, 0.8 * ENTROPY])
    fit = fit_entropy(entropy, 0.7 - 0.2 * np.exp(entropy), np.random.default_rng(0))
    assert (fit.values["a"].point, fit.values["b"].point) == pytest.approx((0.2, 0.7))


def test_autocorrelation_by_hand() -> None:
    assert autocorrelation(np.zeros(10), 2) == 0.0
    assert autocorrelation(np.tile([1.0, -1.0], 20), 2) == 0.0
    long = np.repeat([1.0, -1.0], 50)
    assert autocorrelation(long, 0) == pytest.approx(0.9)  # 0.98 is cut


def test_points_that_follow_each_other_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal(200)
    red = white.copy()
    for t in range(1, 200):
        red[t] = 0.7 * red[t - 1] + np.sqrt(1 - 0.49) * white[t]
    place = np.linspace(1, 0, 200)
    widths = []
    for noise in (white, red):
        found = fit_entropy(place, 0.5 - 0.1 * np.exp(place) + 0.01 * noise, np.random.default_rng(1))
        widths.append(found.values["b"].high - found.values["b"].low)
    assert widths[1] > 1.6 * widths[0]


@pytest.mark.parametrize(
    ("compute", "reward", "message"),
    [
        (COMPUTE - 25, np.ones(40) * 0.5, "above 0"),
        (COMPUTE, np.ones(40), "below the ceiling"),
        (COMPUTE[:4], np.ones(4) * 0.5, "at least 5"),
        (COMPUTE, np.ones(39), "one place per point"),
        (COMPUTE, np.full(40, np.nan), "finite"),
    ],
)
def test_bad_curves_are_refused(compute: np.ndarray, reward: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_sigmoid(compute, reward, np.random.default_rng(0))


def test_one_seed_cannot_be_redrawn() -> None:
    with pytest.raises(ValueError, match="one seed"):
        fit_entropy(ENTROPY, REWARD, np.random.default_rng(0), unit="seed")

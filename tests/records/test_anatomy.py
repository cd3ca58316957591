"""From logged counts to what one reads: worked by hand, missing ones, quantiles against the tokens."""

import numpy as np
import pandas as pd
import pytest

from cegppo_verl.records import anatomy
from cegppo_verl.records.metrics import Metrics

COUNTS = {
    "tokens": 100.0,
    "inside": 80.0,
    "neg_below": 8.0,
    "pos_above": 4.0,
    "neg_above": 2.0,
    "pos_below": 1.0,
}
COUNTS |= {"pos_below": 1.0, "pa_hp": 30.0, "pa_lp": 10.0, "na_hp": 35.0, "na_lp": 20.0}
COUNTS |= {"neg_below_lp": 6.0, "pos_above_lp": 3.0, "neg_above_lp": 2.0, "pos_below_lp": 0.0}
COUNTS |= {"weight_abs": 50.0, "weight_abs_outside": 10.0, "ratio": 110.0, "ratio_squared": 150.0}
COUNTS |= {"k1": 2.0, "k3": 3.0, "entropy": 40.0, "dual_clipped": 1.0}
COUNTS |= {"log_prob": -200.0, "advantage": 50.0, "log_prob_advantage": -80.0}
BY_HAND = {"outside": 0.15, "inside": 0.8, "pos_above": 0.04, "pa_lp": 0.1, "dual_clipped": 0.01}
BY_HAND |= {"low_probability": 30 / 95, "neg_below_low_probability": 0.75, "clipped_low_probability": 0.75}
BY_HAND |= {"pos_below_low_probability": 0.0, "weight_outside": 0.2, "ess": 110**2 / (150 * 100)}
BY_HAND |= {"ratio": 1.1, "k1": 0.02, "k3": 0.03, "entropy": 0.4, "covariance": -0.8 + 2.0 * 0.5}


def run(*steps, prefix="actor/anatomy/"):
    rows = [(step, prefix + key, value, 1) for step, counts in steps for key, value in counts.items()]
    rows += [(step, "actor/lr", 1e-6, 1) for step in range(1, 5)]
    frame = pd.DataFrame(rows, columns=["step", "key", "value", "attempt"]).sort_values(["step", "key"])
    return Metrics(frame.assign(key=frame["key"].astype("category")))


def histogram(log_ratio):
    """Counts per bin of EDGES; log δ inside a bin, so it does not matter which edge belongs to it."""
    counts, _ = np.histogram(log_ratio, anatomy.EDGES)
    return dict(zip(anatomy.BINS, counts.astype(float), strict=True))


@pytest.mark.parametrize("prefix", anatomy.PREFIXES)
@pytest.mark.parametrize("factor", [1.0, 1 / 7])
def test_ratios_by_hand(prefix, factor):
    read = anatomy.anatomy(run((3, {k: factor * v for k, v in COUNTS.items()}), prefix=prefix))
    assert read["step"].tolist() == [3]
    for name, value in BY_HAND.items():
        assert read[name] == pytest.approx([value]), name


def test_what_was_not_counted_is_nan_and_never_0():
    empty = dict.fromkeys([*COUNTS, *anatomy.BINS], 0.0)
    old = {key: COUNTS[key] for key in ("tokens", "inside", *anatomy.REGIONS)}  # runs before the classes
    read = anatomy.anatomy(run((1, COUNTS), (2, empty), (3, old), (4, {**COUNTS, "weight_abs": None})))
    names = read.keys() - {"step"}
    assert all(np.isnan(read[name][1]) for name in names)
    assert read["outside"][2] == 0.15
    known = {"outside", "inside", *anatomy.REGIONS}
    assert all(np.isnan(read[name][2]) for name in names - known)
    assert np.isnan(read["weight_outside"][3])
    assert read["ess"][3] > 0
    assert all(np.isnan(read[name][0]) for name in names if name.startswith("log_ratio"))


def test_a_run_without_anatomy_is_empty():
    read = anatomy.anatomy(run())
    assert all(len(values) == 0 for values in read.values())


@pytest.mark.parametrize("spread", [1e-4, 3e-3, 0.1, 2.0, 30.0])
def test_quantiles_are_within_their_stated_error(spread):
    rng = np.random.default_rng(0)
    tokens = np.clip(spread * rng.standard_t(3, 50_001), -20, 20)
    read = anatomy.anatomy(run((1, {"tokens": 1.0} | histogram(tokens))))
    for q in anatomy.QUANTILES:
        name = f"log_ratio_p{round(100 * q):02d}"
        exact = np.quantile(tokens, q)
        assert abs(read[name][0] - exact) <= read[f"{name}_width"][0], name
        assert read[f"{name}_width"][0] <= max(2.0**-9, 0.5 * abs(exact), 4.0 * (abs(exact) > 15))


def test_interpolation_is_exact_where_tokens_are_spread_evenly():
    counts = np.zeros((1, len(anatomy.BINS)))
    place = np.searchsorted(anatomy.EDGES, 0.5)
    counts[0, place - 1 : place + 1] = 10.0, 30.0  # [0.375, 0.5] and [0.5, 0.75]
    assert anatomy.quantiles(counts, 0.25)[0] == pytest.approx(0.5)
    assert anatomy.quantiles(counts, 0.625)[0] == pytest.approx(0.625)


def test_edges_are_symmetric_and_cover_the_clamped_range():
    assert (-anatomy.EDGES[::-1] == anatomy.EDGES).all()
    assert (np.diff(anatomy.EDGES) > 0).all()
    assert anatomy.EDGES[-1] == 20.0
    assert len(anatomy.BINS) == len(anatomy.EDGES) - 1 == 59

"""The anatomy of a run: from logged counts to shares, quantiles and divergences, step by step.

The training logs counts and sums per update (verl_plugin/anatomy.py says what each of them is), and a logged
number is the sum over every token of the step, divided by one factor that all of them share (data-parallel
ranks × mini-batches × epochs). Here, and nowhere else, they become ratios, in which the factor cancels: each
is the exact ratio of sums over the step's tokens, however unequal the micro-batches were.

A step pools its mini-batches: they share π_old, while π_θ moves from one to the next. So a quantile is one of
all (token, update) pairs of the step, and the effective sample size is that of the pooled weights, not the
mean of the mini-batches' ones. Whatever was not logged, or has no tokens to divide by, is NaN and never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cegppo_verl.records.metrics import Metrics
    from cegppo_verl.records.series import Series

PREFIXES = ("actor/anatomy/", "anatomy/")
REGIONS = ("neg_below", "pos_above", "neg_above", "pos_below")
CLIPPED = ("neg_below", "pos_above")  # where PPO-clip has no gradient
CLASSES = ("pa_hp", "pa_lp", "na_hp", "na_lp")
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)

# Edges at 2^k and 1.5·2^k: in fp32 such a bin is the exponent and the first bit of the mantissa.
SMALLEST, LARGEST = -10, 4
LIMIT = 20.0  # log δ is clamped to ±20 (losses/tokens.py)
_POSITIVE = [m * 2.0**k for k in range(SMALLEST, LARGEST) for m in (1.0, 1.5)] + [2.0**LARGEST, LIMIT]
EDGES = np.array([-edge for edge in reversed(_POSITIVE)] + _POSITIVE)
"""Edges of the histogram of log δ, nats, ascending: bins of half an octave and less around a centre of
±2⁻¹⁰ (0.001), a bin being 50 % or 33 % of its lower edge wide; the last ones are ±[16, 20]."""

BINS = tuple(f"log_ratio/{place:02d}" for place in range(len(EDGES) - 1))
"""Names of the bins' counts, in the order of :data:`EDGES`."""


def quantiles(counts: np.ndarray, q: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of log δ from histograms.

    Args:
        counts: (steps, bins) counts per bin of :data:`EDGES`, times any factor per row. q: in [0, 1].

    Returns:
        (steps,) the quantile in nats, interpolated linearly within its bin, and (steps,) that bin's width:
        the quantile of the tokens themselves lies in the same bin, so the error is below it. NaN without
        tokens or with a count missing.
    """
    cumulative = np.cumsum(counts, axis=1)
    total = cumulative[:, -1]
    known = total > 0  # False for NaN
    aim = q * np.where(known, total, 1.0)
    place = (cumulative < aim[:, None]).sum(1).clip(0, counts.shape[1] - 1)
    rows = np.arange(len(counts))
    inside = counts[rows, place]
    share = 1.0 - _ratio(cumulative[rows, place] - aim, inside)
    width = np.diff(EDGES)[place]
    value = EDGES[place] + np.where(np.isnan(share), 0.0, share) * width
    return np.where(known, value, np.nan), np.where(known, width, np.nan)


def anatomy(metrics: Series | Metrics) -> dict[str, np.ndarray]:
    """Per-step ratios of a run, each (T,) float, with ``step`` (T,) int; see the module's text.

    Keys, per token of the loss unless said otherwise:
        outside, <region>             share outside the interval (Â = 0 left out), and per region with inside
        pa_hp, pa_lp, na_hp, na_lp    share per class: sign of Â × probability under π_old
        low_probability               share of the tokens with Â ≠ 0 that are low-probability ones
        <region>_low_probability      the same among a region's tokens, and clipped_low_probability among
                                      those that PPO clips; compare with low_probability
        <region>_sharp                share of a region's tokens that are likelier than exp(−entropy): raising
                                      one lowers the entropy, to first order
        dual_clipped                  share dropped by the dual clip
        weight_outside                share of Σ|w·Â| that lies outside the interval
        ess                           effective sample size (Σδ)²/Σδ² as a share of the tokens
        ratio                         mean δ
        k1, k3                        estimates of KL(π_old‖π_θ), nats: means of −log δ and δ − 1 − log δ
        entropy, old_entropy          of π_θ and of π_old, nats
        covariance                    of log π_θ and Â over the tokens, nats
        log_ratio_p01 … _p99          quantiles of log δ, nats; <name>_width: bound on their error
    """
    series = _Series(metrics)
    tokens = series("tokens")
    ratios = {name: _ratio(series(name), tokens) for name in (*REGIONS, "inside", *CLASSES, "dual_clipped")}
    ratios |= {name: _ratio(series(name), tokens) for name in ("ratio", "k1", "k3", "entropy", "old_entropy")}
    ratios["outside"] = _ratio(series.total(REGIONS), tokens)
    ratios["weight_outside"] = _ratio(series("weight_abs_outside"), series("weight_abs"))
    ratios["ess"] = _ratio(series("ratio") ** 2, series("ratio_squared") * tokens)
    product, mean = _ratio(series("log_prob_advantage"), tokens), _ratio(series("log_prob"), tokens)
    ratios["covariance"] = product - mean * _ratio(series("advantage"), tokens)
    ratios |= _low_probability(series) | _log_ratio_quantiles(series)
    unknown = np.full(len(series.steps), np.nan)  # one array for all that is not known takes little room
    found = {name: unknown if np.isnan(values).all() else values for name, values in ratios.items()}
    return {"step": series.steps} | found


def _low_probability(series: _Series) -> dict[str, np.ndarray]:
    low = series("pa_lp") + series("na_lp")
    shares = {"low_probability": _ratio(low, low + series("pa_hp") + series("na_hp"))}
    for name in REGIONS:
        shares[f"{name}_low_probability"] = _ratio(series(f"{name}_lp"), series(name))
        shares[f"{name}_sharp"] = _ratio(series(f"{name}_sharp"), series(name))
    clipped_low = series.total([f"{name}_lp" for name in CLIPPED])
    return shares | {"clipped_low_probability": _ratio(clipped_low, series.total(CLIPPED))}


def _log_ratio_quantiles(series: _Series) -> dict[str, np.ndarray]:
    counts = np.stack([series(name) for name in BINS], axis=1)
    found = {}
    for q in QUANTILES:
        name = f"log_ratio_p{round(100 * q):02d}"
        found[name], found[f"{name}_width"] = quantiles(counts, q)
    return found


class _Series:
    """The counts of a run by name, on the steps that have any; NaN where one was not logged."""

    def __init__(self, metrics: Series | Metrics) -> None:
        self._columns: dict[str, np.ndarray] = {}
        series = {key: metrics.series(key) for key in metrics.keys() if key.startswith(PREFIXES)}  # noqa: SIM118, no dict
        known = list({id(steps): steps for steps, _ in series.values()}.values())
        self.steps = known[0] if len(known) == 1 else np.unique(np.concatenate([np.empty(0, int), *known]))
        for key, (steps, values) in series.items():
            self._place(key, steps, values)

    def _place(self, key: str, steps: np.ndarray, values: np.ndarray) -> None:
        name = key[key.index("anatomy/") + len("anatomy/") :]
        if steps is self.steps and name not in self._columns:
            self._columns[name] = values
            return
        column = self._columns.setdefault(name, np.full(len(self.steps), np.nan))
        column[np.searchsorted(self.steps, steps)] = values

    def total(self, names: Sequence[str]) -> np.ndarray:
        return np.sum([self(name) for name in names], axis=0)

    def __call__(self, name: str) -> np.ndarray:
        return self._columns.get(name, np.full(len(self.steps), np.nan))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    known = below > 0  # False for NaN
    return np.where(known, above / np.where(known, below, 1.0), np.nan)

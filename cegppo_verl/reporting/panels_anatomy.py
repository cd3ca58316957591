"""Panels of the anatomy: which tokens lie outside the interval, which classes they are, how far δ spreads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from cegppo_verl.records.anatomy import CLASSES, REGIONS
from cegppo_verl.reporting import numbers, palette
from cegppo_verl.reporting.arms import Study
from cegppo_verl.reporting.canvas import Panel, tag
from cegppo_verl.reporting.panels import Curve, Points, curve_panel, curve_traces, draw_curves
from cegppo_verl.reporting.runs import RunView

Dots = tuple[int, list[list[float]]]  # the arm's position; per category a number per run
_REGION_NAMES = {
    "neg_below": "below, Â < 0\n(clipped)",
    "pos_above": "above, Â > 0\n(clipped)",
    "neg_above": "above, Â < 0",
    "pos_below": "below, Â > 0",
}
_CLASS_NAMES = {
    "pa_hp": "Â > 0, π ≥ ½",
    "pa_lp": "Â > 0, π < ½",
    "na_hp": "Â < 0, π ≥ ½",
    "na_lp": "Â < 0, π < ½",
}


def clip_panels(study: Study) -> list[Panel]:
    """Tokens outside the interval per side, those that PPO clips, gradient weight outside; in per cent."""
    shares = {
        "Below the interval (δ < 1 − ε_low)": numbers.BELOW,
        "Above the interval (δ > 1 + ε_high)": numbers.ABOVE,
        "Where PPO-clip has no gradient": numbers.CLIPPED,
    }
    panels = [_share(study, title, partial(_outside, regions)) for title, regions in shares.items()]
    weight = _share(study, "Gradient weight outside the interval", _measured("weight_outside"), "% of Σ|w·Â|")
    return [*panels, weight]


def class_panels(study: Study) -> list[Panel]:
    """Probability against ratio: how many tokens of each region are improbable ones, and the four classes."""
    lower = [_pooled_dots(study, {r: (f"{r}_lp", r) for r in REGIONS} | {"all": None})]
    classes = [_pooled_dots(study, {name: (name, "tokens") for name in CLASSES})]
    names = [*_REGION_NAMES.values(), "all tokens\nwith Â ≠ 0"]
    by_region = partial(_draw_dots, lower[0], names, "% with π_old < ½")
    by_class = partial(_draw_dots, classes[0], list(_CLASS_NAMES.values()), "% of trained tokens")
    return [
        Panel(
            "Improbable tokens, by where the ratio is",
            "Share of tokens with a probability below one half in each region of the ratio, per arm.",
            by_region,
            not lower[0],
            steps=False,
        ),
        Panel(
            "Classes: advantage × probability",
            "Share of trained tokens per class of advantage sign and probability, per arm.",
            by_class,
            not classes[0],
            steps=False,
        ),
    ]


def ratio_panels(study: Study) -> list[Panel]:
    """1 % and 99 % quantiles of log δ, and the effective sample size."""
    traces = [t for name in ("log_ratio_p01", "log_ratio_p99") for t in curve_traces(study, _measured(name))]
    spread = Panel(
        "log δ, 1 % and 99 % quantile",
        "Quantiles of the log-ratio against the training step, two lines per arm.",
        partial(draw_curves, traces, "nats", False),
        not traces,
    )
    ess = curve_panel(
        study, "Effective sample size, (Σδ)² / Σδ²", "% of tokens", _measured("ess"), factor=100
    )
    return [spread, ess]


def _share(study: Study, title: str, curve: Curve, label: str = "% of trained tokens") -> Panel:
    return curve_panel(study, title, label, curve, factor=100, from_zero=True)


def _outside(regions: Sequence[str], run: RunView) -> Points:
    return numbers.outside_share(run, regions)


def _measured(name: str) -> Callable[[RunView], Points]:
    def curve(run: RunView) -> Points:
        found = run.anatomy
        known = np.isfinite(found[name])
        return found["step"][known], found[name][known]

    return curve


def _pooled_dots(study: Study, shares: dict[str, tuple[str, str] | None]) -> list[Dots]:
    """Per arm with any number: per category one number per finished run, in per cent."""
    found = []
    for arm in study.arms:
        columns = [
            [100 * v for run in arm.finished if (v := _pooled(run, s)) is not None] for s in shares.values()
        ]
        if any(columns):
            found.append((arm.index, columns))
    return found


def _pooled(run: RunView, share: tuple[str, str] | None) -> float | None:
    if share is not None:
        return numbers.pooled(run, [share[0]], share[1])
    return numbers.pooled_ratio(run, ("pa_lp", "na_lp"), CLASSES)


def _draw_dots(found: Sequence[Dots], names: Sequence[str], label: str, axis: Axes) -> None:
    width = 0.7 / max(1, len(found))
    for place, (index, columns) in enumerate(found):
        x = np.arange(len(columns)) + (place - (len(found) - 1) / 2) * width
        places = np.repeat(x, [len(values) for values in columns])
        colour = palette.stroke(index)["color"]
        tag(axis.plot(places, np.concatenate(columns), ".", color=colour, ms=3, alpha=0.5)[0], index)
        means = [np.mean(values) if values else np.nan for values in columns]
        marks = axis.plot(
            x,
            means,
            linestyle="none",
            color=colour,
            marker=palette.marker(index),
            ms=5,
        )
        tag(marks[0], index)
    axis.set_ylabel(label)
    axis.set_xticks(range(len(names)), names, fontsize=8.5)
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.grid(axis="x", visible=False)
    if found:
        axis.set_ylim(bottom=0)
    else:
        axis.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", transform=axis.transAxes)
        axis.set_yticks([])

"""Panels over training steps: one line per arm, its seeds thin behind it.

All numbers are made when a panel is made; drawing it, which happens several times, only draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from cegppo_verl.reporting import comparable, numbers, palette, text
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.canvas import LegendEntry, Panel, tag
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.stats import Interval, bootstrap_curves, moving_mean

PALE = 0.45
MOST_POINTS, FEWEST_POINTS = 400, 50  # of a curve; longer ones are drawn as means over successive steps
PANEL_POINTS = 16_000  # of all curves of a panel
MOST_BARS = 12  # arms whose accuracies have bars
CROWDED = 6  # arms; of more the bands would cover each other
MOST_THIN = 40  # lines of single seeds in a panel; more of them hide the means
KL, GRADIENT = "actor/ppo_kl", "actor/grad_norm"
Points = tuple[np.ndarray, np.ndarray]
Curve = Callable[[RunView], Points]


@dataclass(frozen=True)
class Trace:
    """One line: x and y (T,), a band or none, thin lines behind it; ``index`` is the arm's position."""

    index: int
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    thin: tuple[Points, ...] = ()
    alpha: float = 1.0


def legend(study: Study) -> list[LegendEntry]:
    """An entry per arm; an unfinished one says how far it is."""
    return [
        LegendEntry(text.visible(arm.name, 60), arm.index, "" if arm.finished else arm.missing())
        for arm in study.arms
    ]


def window(total_steps: int) -> int:
    """Odd smoothing window: 3 steps in short runs, 5 from 15 steps on, a twentieth of long runs."""
    return max(3 if total_steps < 15 else 5, round(total_steps / 20) // 2 * 2 + 1)


def accuracy_panel(study: Study, benchmark: str) -> Panel:
    """avg@k in per cent against the step, with 95 % intervals."""
    k, name = study.samples_per_problem(benchmark), text.visible(benchmark, 60)
    traces = accuracy_traces(comparable.for_accuracy(study, benchmark)[0], benchmark)
    alt = f"Accuracy on {name} in per cent against the training step, one line per arm."
    shift = (
        0.012 * max((arm.total_steps for arm in study.arms), default=0)
        if len(study.arms) <= MOST_BARS
        else 0.0
    )
    draw = partial(_draw_accuracy, traces, shift)
    return Panel(f"Accuracy on {name}, avg@{k}", alt, draw, not traces)


def accuracy_traces(study: Study, benchmark: str) -> list[Trace]:
    """Per arm the mean over its finished seeds, and each unfinished run pale; in per cent.

    Of more than ``MOST_BARS`` arms there are no intervals, as nobody could see them.
    """
    curve = numbers.accuracy_curve if len(study.arms) <= MOST_BARS else numbers.accuracy_points
    found = []
    for arm in study.arms:
        groups = [(arm.finished, 1.0), *(((run,), PALE) for run in arm.unfinished)]
        found += [
            trace for runs, alpha in groups if (trace := _accuracy_trace(arm, curve(runs, benchmark), alpha))
        ]
    return found


def _accuracy_trace(arm: Arm, points: Sequence[tuple[int, Interval]], alpha: float) -> Trace | None:
    points = [(step, interval) for step, interval in points if np.isfinite(interval.point)]
    if not points:
        return None
    y, low, high = (
        100 * np.array([getattr(i, part) for _, i in points]) for part in ("point", "low", "high")
    )
    steps = np.array([step for step, _ in points])
    if not np.isfinite(low).any():
        return Trace(arm.index, steps, y, alpha=alpha)
    return Trace(arm.index, steps, y, low, high, alpha=alpha)


def curve_panel(
    study: Study, title: str, label: str, curve: Curve, *, factor: float = 1.0, from_zero: bool = False
) -> Panel:
    """A metric logged at every step; ``from_zero``: a small share shall look small."""
    alt = f"{title} against the training step, one line per arm."
    traces = curve_traces(study, curve, factor)
    return Panel(title, alt, partial(draw_curves, traces, label, from_zero), not traces)


def curve_traces(study: Study, curve: Curve, factor: float = 1.0) -> list[Trace]:
    """Per arm the mean over its finished seeds, and each unfinished run pale."""
    thin, bands = len(study.runs) <= MOST_THIN, len(study.arms) <= CROWDED
    most = most_points(study)
    found = []
    for arm in study.arms:
        found += _mean_trace(arm, curve, factor, thin, bands, most)
        found += [_single_trace(arm, *curve(run), factor, PALE, most) for run in arm.unfinished]
    return [trace for trace in found if len(trace.x)]


def entropy_panel(study: Study) -> Panel:
    """Policy entropy."""
    study = comparable.for_entropy(study)[0]  # another definition is another quantity: not in one panel
    return curve_panel(study, "Policy entropy", "nats per token", logged(numbers.ENTROPY))


def stability_panels(study: Study) -> list[Panel]:
    """Divergence of an update and gradient norm, as in the paper's Fig. 4."""
    return [
        curve_panel(study, "KL(π_old ‖ π_θ) within a step", "nats per token", logged(KL)),
        curve_panel(study, "Gradient norm before clipping", "ℓ2 norm", logged(GRADIENT), from_zero=True),
    ]


def difference_panel(study: Study) -> Panel:
    """Rollout against trainer probability."""
    title = "Rollout against trainer, |Δ probability|"
    return curve_panel(
        study, title, "mean over tokens", logged(numbers.PROBABILITY_DIFFERENCE), from_zero=True
    )


def logged(key: str) -> Curve:
    """The finite values of a logged key."""
    return lambda run: numbers.curve(run, key)


def draw_curves(traces: Sequence[Trace], label: str, from_zero: bool, axis: Axes) -> None:
    """Lines with bands; shares and other small numbers get an exponent."""
    for trace in traces:
        _draw_trace(axis, trace)
    finish(axis, "training step", label, bool(traces))
    if from_zero and traces:
        axis.set_ylim(bottom=0, top=axis.get_ylim()[1] if axis.get_ylim()[1] > 0 else 1)
        axis.yaxis.set_major_formatter(lambda value, _: text.scientific(value))


def finish(axis: Axes, x: str, y: str, drawn: bool) -> None:
    """Names of the axes; without a number it says so."""
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if not drawn:
        axis.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", transform=axis.transAxes)
        axis.set_yticks([])
        axis.set_xticks([])


def most_points(study: Study) -> int:
    """Of each curve, so that a page of many arms stays light."""
    lines = len(study.arms) + (len(study.runs) if len(study.runs) <= MOST_THIN else 0)
    return min(MOST_POINTS, max(FEWEST_POINTS, PANEL_POINTS // max(1, lines)))


def _mean_trace(arm: Arm, curve: Curve, factor: float, thin: bool, bands: bool, most: int) -> list[Trace]:
    curves = [curve(run) for run in arm.finished]
    if len(curves) == 1:
        return [_single_trace(arm, *curves[0], factor, 1.0, most)]
    common, table = numbers.on_common_steps(curves)
    if not len(common):
        return []
    steps, table = _coarse(common, table * factor, most)
    behind = tuple((steps, row) for row in table) if thin else ()
    if not bands:
        return [Trace(arm.index, steps, table.mean(0), thin=behind)]
    band = bootstrap_curves(table, numbers.rng_for("curve", *(run.name for run in arm.finished)))
    return [Trace(arm.index, steps, band.point, band.low, band.high, behind)]


def _single_trace(
    arm: Arm, steps: np.ndarray, values: np.ndarray, factor: float, alpha: float, most: int
) -> Trace:
    if not len(steps):
        return Trace(arm.index, steps, values)
    smooth = moving_mean(values * factor, window(arm.total_steps))
    places, table = _coarse(steps, np.array([smooth, values * factor]), most)
    return Trace(arm.index, places, table[0], thin=((places, table[1]),), alpha=alpha)


def _coarse(steps: np.ndarray, table: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(T,) and (rows, T) as means over successive steps, at most ``most`` of them."""
    size = -(-len(steps) // most)
    if size == 1:
        return steps, table
    starts = np.arange(0, len(steps), size)
    counts = np.diff([*starts, len(steps)])
    return np.add.reduceat(steps, starts) / counts, np.add.reduceat(table, starts, axis=1) / counts


def _draw_trace(axis: Axes, trace: Trace) -> None:
    stroke, alone = palette.stroke(trace.index), len(trace.x) == 1
    for x, y in trace.thin:
        (line,) = axis.plot(x, y, color=stroke["color"], lw=0.8, alpha=0.45 * trace.alpha)
        tag(line, trace.index)
    if trace.low is not None and trace.high is not None:
        band = axis.fill_between(trace.x, trace.low, trace.high, color=stroke["color"], alpha=0.16, lw=0)
        tag(band, trace.index)
    marker = {"marker": palette.marker(trace.index), "ms": 5} if alone else {}
    (line,) = axis.plot(trace.x, trace.y, **stroke, **marker, lw=2.2, alpha=trace.alpha)
    tag(line, trace.index)


def _draw_accuracy(traces: Sequence[Trace], shift: float, axis: Axes) -> None:
    places = list(dict.fromkeys(trace.index for trace in traces))
    for trace in traces:
        x = trace.x + shift * (places.index(trace.index) - (len(places) - 1) / 2)
        draw_points(axis, trace, x, joined=True)
    finish(axis, "training step", "correct, %", bool(traces))
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, 0), min(high, 101))


def draw_points(axis: Axes, trace: Trace, x: np.ndarray, joined: bool) -> None:
    """Markers with bars, joined by the arm's line or not."""
    stroke = palette.stroke(trace.index)
    if trace.low is not None:
        bars = axis.vlines(x, trace.low, trace.high, color=stroke["color"], lw=1.3, alpha=0.75 * trace.alpha)
        tag(bars, trace.index)
    look = {**stroke, "marker": palette.marker(trace.index), "ms": 5, "lw": 1.8, "alpha": trace.alpha}
    (line,) = axis.plot(x, trace.y, **(look if joined else {**look, "linestyle": "none"}))
    tag(line, trace.index)

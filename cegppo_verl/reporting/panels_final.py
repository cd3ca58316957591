"""Panels of final numbers: differences, accuracy against entropy and against cost, sweeps as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from cegppo_verl.reporting import comparable, numbers, palette, text
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.canvas import Panel, tag
from cegppo_verl.reporting.numbers import AccuracyRow
from cegppo_verl.reporting.panels import Trace, draw_points, finish
from cegppo_verl.reporting.scores.model import Line, ScoreTable
from cegppo_verl.stats import Fit, fit_entropy

_PANEL_INCHES = 3.5
_ROW_INCHES = 0.26
_NAME = 28  # characters of an arm's name on an axis
_DARK, _BRIGHT = "#0a0a0a", "#fefefe"  # on a coloured ground, whatever the page's theme


@dataclass(frozen=True)
class Law:
    """One arm's points of entropy and accuracy, in nats and per cent, and the fitted law."""

    arm: Arm
    entropy: np.ndarray
    accuracy: np.ndarray
    fit: Fit | None


def forest_panel(study: Study, benchmark: str, rows: Sequence[AccuracyRow]) -> Panel:
    """Paired differences to the baseline with their intervals, an arm per row."""
    found = [
        (row.arm.index, _short(row.arm.name), *(100 * np.array([i.point, i.low, i.high])))
        for row in rows
        if row.benchmark == benchmark and row.difference and np.isfinite((i := row.difference.interval).point)
    ]
    baseline, name = text.visible(study.arms[0].name, 40), text.visible(benchmark, 40)
    alt = f"Differences in accuracy on {name} to {baseline}, in points, with 95 % intervals, one row per arm."
    height = max(0.6, (_ROW_INCHES * len(found) + 1.1) / _PANEL_INCHES)
    draw = partial(_draw_forest, found, f"points, arm minus {_short(baseline)}")
    return Panel(f"Paired difference on {name}", alt, draw, not found, height, steps=False)


def _short(name: str) -> str:
    shown = text.visible(name, _NAME)
    return shown if len(shown) <= _NAME else f"{shown[: _NAME - 1]}…"


def _draw_forest(found: Sequence[tuple[int, str, float, float, float]], label: str, axis: Axes) -> None:
    axis.axvline(0, color=palette.MUTED, lw=1.0)
    look = {"lw": 2.0, "solid_capstyle": "round", "ms": 6, "markevery": [1]}  # the point's, not the ends'
    for place, (index, _, point, low, high) in enumerate(found):
        colour, marker = palette.stroke(index)["color"], palette.marker(index)
        tag(axis.plot([low, point, high], [place] * 3, color=colour, marker=marker, **look)[0], index)
    finish(axis, label, "", bool(found))
    if found:
        axis.set_yticks([])  # a tick is five artists, and there may be a hundred rows
        axis.set_ylim(len(found) - 0.4, -0.6)
        for place, (index, name, *_) in enumerate(found):
            _name_row(axis, place, index, name)


def _name_row(axis: Axes, place: int, index: int, name: str) -> None:
    beside = axis.get_yaxis_transform()
    tag(axis.text(-0.015, place, name, transform=beside, ha="right", va="center", fontsize=9), index)


def laws(study: Study, benchmark: str) -> list[Law]:
    """Per arm the evaluations of its finished seeds, and R = b − a·exp(H) where there are four of them."""
    both = comparable.for_accuracy(comparable.for_entropy(study)[0], benchmark)[0]
    return [law for arm in both.arms if (law := _law(arm, benchmark)) is not None]


def _law(arm: Arm, benchmark: str) -> Law | None:
    if not arm.finished:
        return None
    common = set.intersection(*(set(run.evaluated_steps(benchmark)) for run in arm.finished))
    tables = [_pairs(run, benchmark, sorted(common)) for run in arm.finished]
    both = np.array(tables, float)  # (S, T, 2)
    if both.size == 0 or not np.isfinite(both).any():
        return None
    both = both[:, np.isfinite(both).all((0, 2))]
    entropy, accuracy = both[..., 0], both[..., 1]
    fit = None
    if both.shape[1] >= 4 and entropy.mean(0).std() > 0:
        fit = fit_entropy(
            entropy, accuracy / 100, numbers.rng_for("law", benchmark, *(r.name for r in arm.finished))
        )
    return Law(arm, entropy, accuracy, fit) if both.shape[1] else None


def _pairs(run: numbers.RunView, benchmark: str, steps: Sequence[int]) -> list[tuple[float, float]]:
    """Entropy logged at a step (the first one logged stands for step 0) and accuracy evaluated at it."""
    logged, values = numbers.curve(run, numbers.ENTROPY)
    known: dict[int, float] = {s: float(v) for s in (1, *steps) for v in values[logged == s]}
    first = known.get(1, float("nan"))
    return [
        (
            known.get(step, first if step == 0 else float("nan")),
            100 * numbers.plain_accuracy(run, step, benchmark),
        )
        for step in steps
    ]


def law_panel(benchmark: str, found: Sequence[Law]) -> Panel:
    """Accuracy against entropy, a marker per evaluation, the law where it could be fitted."""
    name = text.visible(benchmark, 40)
    alt = f"Accuracy on {name} against policy entropy, one marker per evaluation and arm, with fitted curves."
    shown = [(law.arm.index, law.entropy.mean(0), law.accuracy.mean(0), law.fit) for law in found]
    return Panel(
        f"Accuracy on {name} against entropy", alt, partial(_draw_laws, shown), not shown, steps=False
    )


def _draw_laws(found: Sequence[tuple[int, np.ndarray, np.ndarray, Fit | None]], axis: Axes) -> None:
    for index, entropy, accuracy, fit in found:
        stroke = palette.stroke(index)
        marks = axis.plot(entropy, accuracy, palette.marker(index), color=stroke["color"], ms=5, alpha=0.8)
        tag(marks[0], index)
        if fit is not None:
            places = np.linspace(entropy.min(), entropy.max(), 60)
            a, b = (100 * fit.values[name].point for name in ("a", "b"))
            (line,) = axis.plot(places, b - a * np.exp(places), **stroke, lw=1.8)
            tag(line, index)
    finish(axis, "policy entropy, nats per token", "correct, %", bool(found))


def cost_panel(study: Study, benchmark: str, rows: Sequence[AccuracyRow]) -> Panel:
    """Final accuracy against the time that training took."""
    own = [row for row in rows if row.benchmark == benchmark and row.accuracy is not None]
    timed = [(row, cost) for row in own if (cost := _hours(row.arm)) is not None]
    minutes = max((cost for _, cost in timed), default=0.0) < 2
    traces = [_cost_trace(row, cost * (60 if minutes else 1)) for row, cost in timed]
    name = text.visible(benchmark, 40)
    alt = f"Final accuracy on {name} against the duration of training, one marker per arm."
    label = f"{'minutes' if minutes else 'hours'} of training, wall clock"
    return Panel(
        f"Cost and accuracy on {name}", alt, partial(_draw_cost, traces, label), not traces, steps=False
    )


def _hours(arm: Arm) -> float | None:
    found = [numbers.training_seconds(run) for run in arm.finished]
    known = [seconds for seconds in found if seconds is not None]
    return float(np.mean(known)) / 3600 if known and len(known) == len(found) else None


def _cost_trace(row: AccuracyRow, cost: float) -> Trace:
    assert row.accuracy is not None
    y, low, high = (np.array([100 * getattr(row.accuracy, part)]) for part in ("point", "low", "high"))
    return Trace(row.arm.index, np.array([cost]), y, low, high)


def _draw_cost(traces: Sequence[Trace], label: str, axis: Axes) -> None:
    for trace in traces:
        draw_points(axis, trace, trace.x, joined=False)
    finish(axis, label, "correct, %", bool(traces))
    axis.margins(x=0.15)


def sweep_panels(table: ScoreTable) -> list[Panel]:
    """A heat map per slice of a sweep; cells hold their numbers."""
    values = [score.value for line in table.lines for score in line.scores if score.value is not None]
    ends = (min(values), max(values)) if values else (0.0, 1.0)
    return [_sweep_panel(table, group, lines, ends) for group, lines in table.groups()]


def _sweep_panel(table: ScoreTable, group: str, lines: Sequence[Line], ends: tuple[float, float]) -> Panel:
    shown = [
        [table.shown(score)[0] if score.value is not None else "" for score in line.scores] for line in lines
    ]
    values = np.array(
        [[np.nan if s.value is None else s.value for s in line.scores] for line in lines], float
    )
    title = _sweep_title(table) + (f", {text.visible(group, 40)}" if group else "")
    heads = [line.head.partition(" = ")[2] for line in lines]
    columns = [column.partition(" = ")[2] for column in table.columns]
    names = (table.columns[0].partition(" = ")[0], table.stub)
    draw = partial(_draw_heat, values, shown, heads, columns, names, ends)
    alt = f"Heat map: {table.title}."
    return Panel(title, alt, draw, bool(np.isnan(values).all()), steps=False)


def _sweep_title(table: ScoreTable) -> str:
    return table.title.partition(" by ")[0].rstrip(",") + f", {table.unit}"


def _draw_heat(
    values: np.ndarray,
    shown: Sequence[Sequence[str]],
    heads: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    ends: tuple[float, float],
    axis: Axes,
) -> None:
    span = ends[1] - ends[0] or 1.0
    shades = (values - ends[0]) / span
    axis.pcolormesh(shades, cmap="cividis", vmin=0, vmax=1, edgecolors=palette.GRID, linewidth=0.8)
    for (row, column), shade in np.ndenumerate(shades):
        known = np.isfinite(shade)
        red, green, blue, _ = colormaps["cividis"](shade if known else 0.0)
        bright = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        colour = (_BRIGHT if bright else _DARK) if known else palette.MUTED
        words = shown[row][column] if known else "–"
        axis.text(column + 0.5, row + 0.5, words, ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axis.set_yticks(np.arange(len(heads)) + 0.5, heads)
    axis.set_xlabel(names[0])
    axis.set_ylabel(names[1])
    axis.grid(visible=False)

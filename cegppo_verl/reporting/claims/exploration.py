"""A difference under several conditions, described: where its sign turns, and what goes with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cegppo_verl.experiment.claims import Exploration, StudyFile
from cegppo_verl.reporting import canvas, palette, text
from cegppo_verl.reporting.claims import shown
from cegppo_verl.reporting.claims.measures import MEASURES
from cegppo_verl.reporting.claims.verdict import LEVEL, Grid, measured
from cegppo_verl.stats.by_seed import BySeed, mean_over_seeds

FORMATS = ("svg", "png", "pdf")
_CAPTION = (
    "Dots and bars: mean over seeds of the difference, paired by seed, with its 95 % interval by Student's "
    "t; small marks are the seeds. Nothing here is corrected for the number of conditions, and nothing is "
    "decided: these were looked at to find out why."
)


@dataclass(frozen=True)
class Point:
    """One condition, in the measure's shown unit.

    Attributes:
        values: one difference per seed. first, second: means of the two arms over those seeds.
        result: None where no seed has both.
    """

    label: str
    values: tuple[float, ...]
    first: float
    second: float
    result: BySeed | None


@dataclass(frozen=True)
class Explored:
    """An exploration with its numbers."""

    asked: Exploration
    points: tuple[Point, ...]


def explore(study: StudyFile, grids: Mapping[str, Grid]) -> list[Explored]:
    """Every exploration of a study."""
    return [
        Explored(asked, tuple(_point(asked, label, grids) for label in asked.points))
        for asked in study.explorations
    ]


def _point(asked: Exploration, label: str, grids: Mapping[str, Grid]) -> Point:
    evidence, *arms = asked.points[label]
    runs = {(run.arm, run.seed): run for run in grids[evidence].runs if run.arm in arms}
    values, factor = measured(runs, asked.measure), MEASURES[asked.measure.of].factor
    seeds = sorted({seed for _, seed in values if all((arm, seed) in values for arm in arms)})
    if not seeds:
        return Point(label, (), np.nan, np.nan, None)
    table = factor * np.array([[values[arm, seed] for arm in arms] for seed in seeds])
    difference = table[:, 0] - table[:, 1]
    means = (float(table[:, 0].mean()), float(table[:, 1].mean()))
    return Point(label, tuple(map(float, difference)), *means, mean_over_seeds(difference, level=LEVEL))


def section(found: Sequence[Explored]) -> list[str]:
    """The part of the report, in paragraphs of Markdown; none when nothing was asked."""
    if not found:
        return []
    parts = ["## Explorations", _CAPTION]
    for one in found:
        parts += _one(one)
    return parts


def _one(one: Explored) -> list[str]:
    asked = one.asked
    unit = MEASURES[asked.measure.of].unit
    titles = f"{asked.over}|seeds:|the one:|the other:|difference{f', {unit}' if unit else ''}:"
    note = [text.markdown(asked.note)] if asked.note else []
    return [
        f"### {text.markdown(asked.question)}",
        f"Measured: {shown.meaning(asked.measure)}. {_arms(asked)}",
        f"![{text.markdown(asked.question)}]({asked.name}.svg)",
        shown.table(titles, [_row(point) for point in one.points]),
        *note,
    ]


def _arms(asked: Exploration) -> str:
    pairs = dict.fromkeys(f"{first} minus {second}" for _, first, second in asked.points.values())
    return f"{next(iter(pairs))}, paired by seed." if len(pairs) == 1 else "The first arm minus the second."


def _row(point: Point) -> str:
    if point.result is None:
        return f"| {point.label} | 0 | | | not run |"
    means = f"{shown.number(point.first)} | {shown.number(point.second)}"
    return f"| {point.label} | {len(point.values)} | {means} | {shown.interval(point.result.interval)} |"


def figures(found: Sequence[Explored]) -> dict[str, tuple[dict[str, bytes], str]]:
    """By exploration: the figure's bytes by format, and what it draws, for its sidecar."""
    return {one.asked.name: (_rendered(one), _drawn(one)) for one in found}


def _rendered(one: Explored) -> dict[str, bytes]:
    return canvas.render(lambda: _figure(one), one.asked.name, FORMATS)


def _drawn(one: Explored) -> str:
    rows = [[point.label, *(f"{value:.6g}" for value in point.values)] for point in one.points]
    return json.dumps(rows, ensure_ascii=True)


def _figure(one: Explored) -> Figure:
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0, color=palette.MUTED, lw=1.0)
    for place, point in enumerate(one.points):
        if point.result is None:
            continue
        found, colour = point.result.interval, palette.LIGHT[0]
        axis.plot([place + 0.14] * len(point.values), point.values, "_", color=palette.MUTED, ms=7, alpha=0.8)
        if np.isfinite(found.low):
            axis.plot([place, place], [found.low, found.high], color=colour, lw=2.2, solid_capstyle="round")
        axis.plot([place], [found.point], "o", color=colour, ms=6)
    axis.set_xticks(range(len(one.points)), [point.label for point in one.points])
    axis.set_xlim(-0.6, len(one.points) - 0.4)
    axis.set_xlabel(one.asked.over)
    unit = MEASURES[one.asked.measure.of].unit
    axis.set_ylabel(f"difference{f', {unit}' if unit else ''}")
    axis.grid(axis="x", visible=False)
    return figure

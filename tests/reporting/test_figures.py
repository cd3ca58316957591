"""Every figure with nothing, one point, NaN and fifty arms: drawn, labelled, and no label on another one."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from synthetic import FakeRun

from cegppo_verl.records.anatomy import BINS
from cegppo_verl.records.status import PLANNED, Status
from cegppo_verl.reporting import RunView, canvas, numbers, palette
from cegppo_verl.reporting.arms import Study, studies
from cegppo_verl.reporting.figures import Plot, study_plots
from cegppo_verl.reporting.panels_final import laws
from cegppo_verl.reporting.scores import sweep_tables

ALL = {
    "accuracy-entropy",
    "stability",
    "clip-anatomy",
    "probability-classes",
    "log-ratio",
    "rollout-trainer",
    "forest",
    "entropy-accuracy",
    "cost",
    "sweep-beta1-beta2",
}
CLASSES = {
    "pa_hp": 300.0,
    "pa_lp": 250.0,
    "na_hp": 350.0,
    "na_lp": 100.0,
    "ratio": 1000.0,
    "ratio_squared": 1010.0,
}
REST = {"neg_below_lp": 9.0, "pos_above_lp": 8.0, "neg_above_lp": 5.0, "pos_below_lp": 2.0}
EXTRA = {f"actor/anatomy/{k}": v for k, v in {**CLASSES, **REST, **dict.fromkeys(BINS, 17.0)}.items()}
EXTRA |= {"actor/ppo_kl": 0.01, "actor/grad_norm": 0.4}


def arm(number: int, seed: int = 0, **changes) -> FakeRun:  # type: ignore[no-untyped-def]
    params = {"beta1": float(number), "beta2": 0.5 + number % 2, "epsilon_low": 0.2}
    table = np.array([[1, 1]] * (number % 5) + [[1, 0]] * 3 + [[0, 0]] * (5 - number % 5))
    fields = {
        "arm": f"arm-{number} with a longer name",
        "seed": seed,
        "algorithm": "cegppo",
        "params": params,
        "verdicts": {0: np.roll(table, 3), 2: table, 4: table, 6: table, 8: table},
        "entropy": lambda step: 1.2 - 0.02 * step - 0.003 * number + 0.01 * seed,
        "extra": EXTRA,
    }
    return FakeRun(**{**fields, **changes})


def plots(views: list[RunView]) -> tuple[dict[str, Plot], list[str]]:
    study: Study = studies(views)[0]
    found = {name: laws(study, name) for name in study.benchmarks}
    drawn, not_drawn = study_plots(study, numbers.final_accuracy(study), found, sweep_tables(study))
    return {plot.name: plot for plot in drawn}, not_drawn


def overlapping(plot: Plot) -> list[str]:
    """Texts of the figure that lie on one another or leave it."""
    with mpl.rc_context(canvas._STYLE):
        figure = canvas._sheet(plot.panels, plot.legend)
        canvas._settle(figure)
        figure.draw_without_rendering()  # only then texts know where they are
    page = figure.bbox
    texts = [t for axis in figure.axes for t in _labels(axis)]
    texts += figure.texts  # the legend
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text().strip()]
    found = [
        name
        for name, box in boxes
        if box.x0 < -2 or box.y0 < -2 or box.x1 > page.x1 + 2 or box.y1 > page.y1 + 2
    ]
    for (name, box), (other, another) in combinations(boxes, 2):
        width = min(box.x1, another.x1) - max(box.x0, another.x0)
        height = min(box.y1, another.y1) - max(box.y0, another.y0)
        if width > 2 and height > 2:
            found.append(f"{name!r} on {other!r}")
    return found


def _labels(axis) -> list:  # type: ignore[no-untyped-def, type-arg]
    """Titles, names of the axes, and the ticks' labels within the view: others exist and are not drawn."""
    names = [axis.title, axis._left_title, axis.xaxis.label, axis.yaxis.label]
    names += [text for text in axis.texts if text.get_ha() == "right"]  # the forest's rows
    for one, limits in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
        places = zip(one.get_majorticklocs(), one.get_majorticklabels(), strict=False)
        names += [label for place, label in places if min(limits) <= place <= max(limits)]
    return names


def check(found: dict[str, Plot]) -> None:
    for plot in found.values():
        for form, content in plot.files.items():
            assert content, form
        ElementTree.fromstring(plot.files["svg"])
        assert plot.files["png"].startswith(b"\x89PNG")
        assert plot.files["pdf"].startswith(b"%PDF")
        assert overlapping(plot) == [], plot.name
        assert plot.caption
        assert all(panel.alt for panel in plot.panels)


def test_four_arms_of_three_seeds_have_every_figure(tmp_path: Path) -> None:
    found, not_drawn = plots([arm(n, seed).view(tmp_path) for n in range(4) for seed in range(3)])
    assert (set(found), not_drawn) == (ALL, [])
    check(found)
    said = " ".join(plot.caption for plot in found.values())
    for word in ("95 % bootstrap intervals over seeds", "thin lines single seeds", "unsmoothed"):
        assert word in said
    entropy = found["accuracy-entropy"].panels[-1].draw.args[0]  # type: ignore[attr-defined]
    assert all(len(trace.thin) == 3 for trace in entropy)


def test_fifty_arms_stay_apart(tmp_path: Path) -> None:
    found, _ = plots([arm(n).view(tmp_path) for n in range(50)])
    assert set(found) == ALL
    for name in ("accuracy-entropy", "forest", "probability-classes"):
        assert overlapping(found[name]) == [], name
    looks = {(palette.stroke(n)["color"], palette.marker(n)) for n in range(64)}
    assert len(looks) == 64


def test_nothing_run_draws_one_figure_that_says_so(tmp_path: Path) -> None:
    view = RunView.load(tmp_path / "none", Status(PLANNED, 0, 8), cell=arm(0).cell())
    found, not_drawn = plots([view])
    assert set(found) == {"accuracy-entropy"}
    assert {"Clip anatomy", "Differences to the baseline", "Cost and accuracy"} <= set(not_drawn)
    check(found)
    assert b"nothing recorded yet" in found["accuracy-entropy"].files["svg"]


def test_one_step_is_a_dot_and_not_an_invisible_line(tmp_path: Path) -> None:
    table = np.array([[1, 0], [0, 0]])
    one = [arm(n, total_steps=1, verdicts={1: table}).view(tmp_path) for n in range(2)]
    found, _ = plots(one)
    check(found)
    axis = mpl.figure.Figure().subplots()
    found["accuracy-entropy"].panels[-1].draw(axis)
    assert {line.get_marker() for line in axis.lines if len(line.get_xdata()) == 1} >= {"o", "s"}


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    holes = {"entropy": lambda step: math.nan if step in (2, 5) else 1.0}
    empty = {"entropy": lambda step: math.nan, "extra": dict.fromkeys(EXTRA, math.nan)}
    found, _ = plots([arm(0, **holes).view(tmp_path), arm(1, **empty).view(tmp_path)])
    check(found)
    traces = found["accuracy-entropy"].panels[-1].draw.args[0]  # type: ignore[attr-defined]
    assert [(trace.index, trace.x.tolist()) for trace in traces] == [(0, [1, 3, 4, 6, 7, 8])]


def test_the_law_of_entropy_is_found(tmp_path: Path) -> None:
    """R = b − a·exp(H) with entropies that give just 80, 60, 40, 20 and 0 per cent right."""
    levels = {0: 0.0, 2: 0.2, 4: 0.4, 6: 0.6, 8: 0.8}
    heights = {step: math.log((0.9 - level) / 0.5) for step, level in levels.items()}
    tables = {s: np.array([[1]] * round(10 * v) + [[0]] * round(10 - 10 * v)) for s, v in levels.items()}
    view = arm(0, verdicts=tables, entropy=lambda step: heights.get(step if step > 1 else 0, 0.3)).view(
        tmp_path
    )
    (law,) = laws(studies([view])[0], "pick")
    assert law.fit is not None
    assert (law.fit.values["a"].point, law.fit.values["b"].point) == pytest.approx((0.5, 0.9))


@pytest.mark.parametrize("name", ["a", "arm-{}", "cegppo-{}-with-a-name-that-goes-on"])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_a_legend_stays_within_its_figure(name: str, count: int) -> None:
    entries = tuple(canvas.LegendEntry(name.format(i), i) for i in range(count))
    panels = tuple(canvas.Panel("t", "t", lambda axis: None) for _ in range(2))
    assert overlapping(Plot("p", "p", "p", panels, entries)) == []


def test_a_legend_entry_is_one_line() -> None:
    assert canvas.LegendEntry("a\nb\t c", 0, "running,\nstep 1").text == "a b c (running, step 1)"

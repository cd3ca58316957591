"""What is drawn: panels of one study, each a function of the numbers that fills given axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from cegppo_verl.reporting import comparable, numbers, palette, text
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.canvas import LegendEntry, Panel
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.stats import Interval, bootstrap_curves, moving_mean

PALE = 0.45
Curve = Callable[[RunView], tuple[np.ndarray, np.ndarray]]


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
    study = comparable.for_accuracy(study, benchmark)[0]
    alt = f"Accuracy on {name} in per cent against the training step, one line per arm."
    return Panel(f"Accuracy on {name}, avg@{k}", alt, partial(_draw_accuracy, study, benchmark))


def curve_panel(
    study: Study, title: str, label: str, curve: Curve, *, factor: float = 1.0, from_zero: bool = False
) -> Panel:
    """A metric logged at every step; ``from_zero``: a small share shall look small."""
    alt = f"{title} against the training step, one line per arm."
    return Panel(title, alt, partial(_draw_curves, study, label, curve, factor, from_zero))


def entropy_panel(study: Study) -> Panel:
    """Policy entropy."""
    study = comparable.for_entropy(study)[0]  # another definition is another quantity: not in one panel
    return curve_panel(study, "Policy entropy", "nats per token", _entropy)


def anatomy_panels(study: Study) -> list[Panel]:
    """Share of tokens outside the interval per side, in per cent."""
    sides = {
        "Below the interval (δ < 1 − ε_low)": numbers.BELOW,
        "Above the interval (δ > 1 + ε_high)": numbers.ABOVE,
    }
    return [
        curve_panel(
            study, title, "% of trained tokens", partial(_outside, regions), factor=100, from_zero=True
        )
        for title, regions in sides.items()
    ]


def difference_panel(study: Study) -> Panel:
    """Rollout against trainer probability."""
    title, key = "Rollout against trainer, |Δ probability|", numbers.PROBABILITY_DIFFERENCE
    return curve_panel(study, title, "mean over tokens", lambda run: numbers.curve(run, key), from_zero=True)


def _entropy(run: RunView) -> tuple[np.ndarray, np.ndarray]:
    return numbers.curve(run, numbers.ENTROPY)


def _outside(regions: Sequence[str], run: RunView) -> tuple[np.ndarray, np.ndarray]:
    return numbers.outside_share(run, regions)


def _draw_accuracy(study: Study, benchmark: str, axis: Axes) -> None:
    shift = 0.012 * max((arm.total_steps for arm in study.arms), default=0)
    drawn = False
    for place, arm in enumerate(study.arms):
        offset = shift * (place - (len(study.arms) - 1) / 2)
        drawn |= _points(axis, arm, numbers.accuracy_curve(arm.finished, benchmark), offset, 1.0)
        for run in arm.unfinished:
            drawn |= _points(axis, arm, numbers.accuracy_curve([run], benchmark), offset, PALE)
    _finish(axis, "correct, %", drawn)
    axis.set_ylim(*_clamped(axis.get_ylim(), 0, 101))


def _points(axis: Axes, arm: Arm, points: list[tuple[int, Interval]], offset: float, alpha: float) -> bool:
    if not points:
        return False
    x = np.array([step for step, _ in points]) + offset
    mean, low, high = (
        100 * np.array([getattr(i, part) for _, i in points]) for part in ("point", "low", "high")
    )
    stroke = palette.stroke(arm.index)
    axis.vlines(x, low, high, color=stroke["color"], lw=1.3, alpha=0.75 * alpha)
    axis.plot(x, mean, **stroke, marker=palette.marker(arm.index), ms=5, lw=1.8, alpha=alpha)
    return True


def _draw_curves(study: Study, label: str, curve: Curve, factor: float, from_zero: bool, axis: Axes) -> None:
    drawn = False
    for arm in study.arms:
        drawn |= _arm_curve(axis, arm, curve, factor)
        for run in arm.unfinished:
            drawn |= _single_curve(axis, arm, *curve(run), factor, PALE)
    _finish(axis, label, drawn)
    if from_zero and drawn:
        axis.set_ylim(bottom=0, top=axis.get_ylim()[1] if axis.get_ylim()[1] > 0 else 1)
        axis.yaxis.set_major_formatter(lambda value, _: text.scientific(value))


def _arm_curve(axis: Axes, arm: Arm, curve: Curve, factor: float) -> bool:
    curves = [curve(run) for run in arm.finished]
    if len(curves) == 1:
        return _single_curve(axis, arm, *curves[0], factor, 1.0)
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in curves))) if curves else []
    if not common:
        return False
    table = np.array([values[np.isin(steps, common)] for steps, values in curves]) * factor
    band = bootstrap_curves(table, numbers.rng_for("curve", *(run.name for run in arm.finished)))
    stroke = palette.stroke(arm.index)
    axis.fill_between(common, band.low, band.high, color=stroke["color"], alpha=0.16, lw=0)
    axis.plot(common, band.point, **stroke, lw=2.2)
    return True


def _single_curve(
    axis: Axes, arm: Arm, steps: np.ndarray, values: np.ndarray, factor: float, alpha: float
) -> bool:
    if not len(steps):
        return False
    stroke = palette.stroke(arm.index)
    axis.plot(steps, values * factor, color=stroke["color"], lw=0.8, alpha=0.5 * alpha)
    axis.plot(steps, moving_mean(values * factor, window(arm.total_steps)), **stroke, lw=2.3, alpha=alpha)
    return True


def _finish(axis: Axes, label: str, drawn: bool) -> None:
    axis.set_xlabel("training step")
    axis.set_ylabel(label)
    if not drawn:
        axis.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", transform=axis.transAxes)
        axis.set_yticks([])


def _clamped(limits: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    return max(limits[0], low), min(limits[1], high)

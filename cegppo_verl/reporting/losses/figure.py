"""The curve of one loss, and the family side by side, as figures; colour and dash both tell the signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from cegppo_verl.reporting import canvas, palette
from cegppo_verl.reporting.losses import axes
from cegppo_verl.reporting.losses.curves import Curve, ppo_clip

FORMATS = ("svg", "png", "pdf")
COLUMNS = 4
_SIGNS = (
    ("positive", "Â > 0", palette.LIGHT[0], "-"),
    ("negative", "Â < 0", palette.LIGHT[1], (0, (5, 1.8))),
)


@dataclass(frozen=True)
class Drawing:
    """One panel: what is written above it, and its curves, the main one first."""

    title: str
    subtitle: str
    curves: Sequence[Curve]


def one(drawing: Drawing, formats: Sequence[str]) -> dict[str, bytes]:
    """A figure of one loss, by format."""
    return canvas.render(lambda: _figure([drawing], 1, (6.4, 4.6)), "loss", formats)


def family(drawings: Sequence[Drawing]) -> dict[str, bytes]:
    """Small multiples with shared axes, SVG and PNG."""
    return canvas.render(lambda: _figure(drawings, COLUMNS, (2.6, 2.1)), "losses", ("svg", "png"))


def _figure(drawings: Sequence[Drawing], columns: int, panel: tuple[float, float]) -> Figure:
    columns = min(columns, len(drawings))
    rows = -(-len(drawings) // columns)
    legend_height = 0.42  # inches
    size = (panel[0] * columns, panel[1] * rows + legend_height)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - legend_height / size[1]))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for index, axis in enumerate(grid.ravel()):
        if index < len(drawings):
            low = axes.bottom(list(drawings[index].curves))
            _panel(axis, drawings[index], low)
            first = index % columns == 0
            _labels(axis, first=first, last=index + columns >= len(drawings))
            axis.tick_params(labelleft=first or low < -1)
        else:
            axis.set_axis_off()
    _legend(figure, any(len(d.curves) > 1 for d in drawings))
    return figure


def _panel(axis: Axes, drawing: Drawing, low: float) -> None:
    reference = ppo_clip()
    for name, _, colour, dash in _SIGNS:
        axis.plot(
            reference.log_ratio, getattr(reference, name), color=palette.MUTED, alpha=0.28, lw=4.5, zorder=1
        )
        for index, curve in enumerate(drawing.curves):
            w = np.clip(getattr(curve, name), low, axes.TOP)
            strength = {"lw": 1.8} if index == 0 else {"lw": 0.9, "alpha": 0.75}
            axis.plot(curve.log_ratio, w, color=colour, linestyle=dash, zorder=2, **strength)
    _scales(axis, low)
    axis.set_title(drawing.title, pad=14 if drawing.subtitle else 5, fontsize=10)
    axis.annotate(
        drawing.subtitle, (0, 1), (0, 3), "axes fraction", "offset points", color=palette.MUTED, fontsize=7.5
    )


def _scales(axis: Axes, low: float) -> None:
    axis.set_yscale("asinh", linear_width=axes.LINEAR)
    axis.set_ylim(low, axes.TOP)
    axis.yaxis.set_major_locator(FixedLocator([w for w in axes.WEIGHT_TICKS if w >= low]))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda w, _: f"{w:g}".replace("-", "−"))
    axis.xaxis.set_major_locator(FixedLocator([float(np.log(r)) for r in axes.RATIO_TICKS]))
    axis.xaxis.set_major_formatter(lambda x, _: f"{np.exp(x):.2g}")
    axis.tick_params(length=2.5, labelsize=8)


def _labels(axis: Axes, *, first: bool, last: bool) -> None:
    if first:
        axis.set_ylabel("w", rotation=0, labelpad=8)
    if last:
        axis.set_xlabel("δ = π_θ / π_old", fontsize=9)
        axis.tick_params(labelbottom=True)


def _legend(figure: Figure, other_probs: bool) -> None:
    handles = [Line2D([], [], color=c, linestyle=dash, lw=1.8, label=label) for _, label, c, dash in _SIGNS]
    handles.append(Line2D([], [], color=palette.MUTED, alpha=0.28, lw=4.5, label="PPO-clip, ε = 0.2"))
    if other_probs:
        handles.append(Line2D([], [], color=palette.INK, lw=0.9, label="thin: other π_old"))
    figure.legend(handles=handles, loc="upper left", ncols=len(handles), handlelength=2.8, fontsize=9)

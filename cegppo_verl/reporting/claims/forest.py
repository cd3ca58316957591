"""All claims in one picture: each number with its interval, in units of the effect that could be detected."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cegppo_verl.reporting import canvas, palette
from cegppo_verl.reporting.claims.verdict import OPEN, REFUTED, SUPPORTED, Decided

FORMATS = ("svg", "png", "pdf")
_FACES = {SUPPORTED: palette.LIGHT[0], REFUTED: palette.LIGHT[1], OPEN: palette.MUTED}
_MARKERS = {SUPPORTED: "o", REFUTED: "X", OPEN: "s"}
_EDGE = 6.0  # beyond this many detectable effects a number is drawn at the edge, with an arrow's head


def forest(found: Sequence[Decided]) -> tuple[dict[str, bytes], str]:
    """The figure's bytes by format, and what it draws, for its sidecar."""
    rows = [one for one in found if one.result is not None and one.result.detectable > 0]
    files = canvas.render(lambda: _figure(rows), "claims", FORMATS)
    drawn = [[_label(one), *(f"{value:.6g}" for value in _scaled(one))] for one in rows]
    return files, json.dumps(drawn, ensure_ascii=True)


def _figure(rows: Sequence[Decided]) -> Figure:
    figure = Figure(figsize=(9.2, 1.3 + 0.34 * max(1, len(rows))), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color=palette.MUTED, lw=1.0)
    for place, one in enumerate(rows):
        _draw(axis, place, one)
    if not rows:
        axis.text(0.5, 0.5, "No claim has two finished seeds yet.", transform=axis.transAxes, ha="center")
    axis.set_yticks(range(len(rows)), [_label(one) for one in rows])
    axis.set_ylim(max(1, len(rows)) - 0.4, -0.6)
    axis.set_xlim(-_EDGE - 0.3, _EDGE + 0.3)
    axis.set_xlabel("← against the claim   in detectable effects   as claimed →")
    axis.grid(axis="y", visible=False)
    _legend(axis)
    return figure


def _draw(axis: Axes, place: int, one: Decided) -> None:
    point, low, high, *seeds = np.clip(_scaled(one), -_EDGE, _EDGE)
    colour = _FACES[one.verdict]
    axis.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="round")
    axis.plot(seeds, [place + 0.24] * len(seeds), "|", color=palette.MUTED, ms=4, alpha=0.8)
    axis.plot([point], [place], _MARKERS[one.verdict], color=colour, ms=6.5)


def _scaled(one: Decided) -> list[float]:
    """Point, low, high and every seed's number: claimed sign positive, in detectable effects."""
    assert one.result is not None
    sign = 1.0 if one.claim.expected == "positive" else -1.0
    found = one.result.interval
    ends = sorted((sign * found.low, sign * found.high))
    unit = one.result.detectable
    return [value / unit for value in (sign * found.point, *ends, *(sign * v for v in one.values))]


def _label(one: Decided) -> str:
    count = len(one.seeds)
    return f"{one.claim.name}, {one.evidence} ({count} seed{'s' * (count > 1)})"


def _legend(axis: Axes) -> None:
    for verdict, marker in _MARKERS.items():
        axis.plot([math.nan], [math.nan], marker, color=_FACES[verdict], label=verdict, ms=6.5)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2)

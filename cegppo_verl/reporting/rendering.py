"""Figures drawn on all cores where there are many: each is independent of the others."""

from __future__ import annotations

from collections.abc import Sequence

from cegppo_verl.reporting import parallel
from cegppo_verl.reporting.figures import Plot

MANY = 12


def draw(plots: Sequence[Plot]) -> None:
    """Fill every plot's ``files``, ``inline`` and ``drawn``; the bytes are those that one process makes."""
    if len(plots) < MANY or not parallel.possible():
        return  # they are drawn when they are asked for
    made = parallel.spread(lambda number: _made(plots[number]), len(plots), least=MANY)
    for plot, parts in zip(plots, made, strict=True):
        vars(plot).update(parts)  # where cached_property keeps it


def _made(plot: Plot) -> dict[str, object]:
    return {"files": plot.files, "inline": plot.inline, "drawn": plot.drawn}

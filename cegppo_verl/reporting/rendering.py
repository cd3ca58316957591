"""Figures drawn on all cores where there are many: each is independent of the others."""

from __future__ import annotations

from collections.abc import Sequence

from cegppo_verl.reporting import parallel
from cegppo_verl.reporting.figures import Plot

MANY = 12
PARTS = (("files",), ("inline", "drawn"))  # these two come from one drawing


def draw(plots: Sequence[Plot]) -> None:
    """Fill every plot's ``files``, ``inline`` and ``drawn``; the bytes are those that one process makes."""
    if len(plots) < MANY or not parallel.possible():
        return  # they are drawn when they are asked for
    largest_first = sorted(plots, key=lambda plot: -len(plot.panels))  # so that no core waits for the last
    parts = [(plot, part) for part in PARTS for plot in largest_first]
    made = parallel.spread(lambda number: _made(*parts[number]), len(parts), least=MANY)
    for (plot, _), content in zip(parts, made, strict=True):
        vars(plot).update(content)  # where cached_property keeps it


def _made(plot: Plot, part: tuple[str, ...]) -> dict[str, object]:
    return {name: getattr(plot, name) for name in part}

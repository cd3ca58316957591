"""A line plot in braille characters: each cell has 2 × 4 dots, so 36 × 10 cells are 72 × 40 points.

Written here because it is forty lines; the plotting libraries for terminals are larger than this project's
whole reporting and none is in its lock files.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Bit of the dot at (row, column) of a cell: Unicode's braille patterns, block 2800.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


class Canvas:
    """Dots on a grid of cells; x and y run from 0 to 1, y upwards."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._cells = np.zeros((rows, columns), dtype=int)

    def line(self, x: np.ndarray, y: np.ndarray, *, dotted: bool = False) -> None:
        """Connect the points; those that are not finite or outside [0, 1] leave a gap.

        Args:
            dotted: every third dot only.
        """
        dots = list(dict.fromkeys(_steps(x * (2 * self.columns - 1), (1 - y) * (4 * self.rows - 1))))
        for column, row in dots[:: 3 if dotted else 1]:
            if 0 <= column < 2 * self.columns and 0 <= row < 4 * self.rows:
                self._cells[row // 4, column // 2] |= _DOTS[row % 4][column % 2]

    def cell(self, row: int, column: int) -> str:
        """The character of a cell; "" when it is empty."""
        pattern = int(self._cells[row, column])
        return chr(0x2800 + pattern) if pattern else ""


def _steps(x: np.ndarray, y: np.ndarray) -> Iterable[tuple[int, int]]:
    """Whole-numbered points from each point to the next, without holes."""
    for x0, y0, x1, y1 in zip(x, y, x[1:], y[1:], strict=False):
        if not np.isfinite([x0, y0, x1, y1]).all():
            continue
        count = int(max(abs(x1 - x0), abs(y1 - y0))) + 1
        for part in np.linspace(0, 1, count + 1):
            yield round(x0 + part * (x1 - x0)), round(y0 + part * (y1 - y0))

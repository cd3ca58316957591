"""Colours and strokes. Arms differ by colour, dash and marker, so that no reader depends on colour alone.

Hues after Okabe and Ito (2008), darkened where needed for 3:1 contrast on white; ``DARK`` holds the same hues
lightened for a dark page, where an inline figure is recoloured through CSS variables.
"""

from __future__ import annotations

from typing import Any

LIGHT = ("#0072b2", "#d55e00", "#008f6b", "#b85a92", "#8a6d00", "#2f8fc4", "#5b5b5b", "#7a3db8")
DARK = ("#5cb8f0", "#ff9248", "#35cfa3", "#ee9ac8", "#e3bf3c", "#9bd6f7", "#b9b9b9", "#c39bf2")
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.6)), (0, (2, 1.2)), (0, (7, 1.5, 1.5, 1.5)))
MARKERS = "os^DvPX*"

# Unlike any other colour in a figure, so that they can be told apart when the page recolours it.
INK, MUTED, GRID, PAPER = "#1c1c21", "#5a5a63", "#dcdce1", "#ffffff"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper"}
VARIABLES |= {colour: f"--arm-{index}" for index, colour in enumerate(LIGHT)}


def stroke(index: int) -> dict[str, Any]:
    """Line style of the arm at this position."""
    return {"color": LIGHT[index % len(LIGHT)], "linestyle": DASHES[index % len(DASHES)]}


def marker(index: int) -> str:
    """Marker of the arm at this position."""
    return MARKERS[index % len(MARKERS)]


def dash(index: int) -> str:
    """SVG dash array of the arm's stroke at width 3; empty for a full line."""
    style = DASHES[index % len(DASHES)]
    return "" if style == "-" else " ".join(f"{3 * length / 2.3 * 1.6:.1f}" for length in style[1])

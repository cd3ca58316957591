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
    return {"color": LIGHT[index % len(LIGHT)], "linestyle": DASHES[_dash(index)]}


def _dash(index: int) -> int:
    return (index + index // len(LIGHT)) % len(DASHES)


def marker(index: int) -> str:
    """Marker of the arm at this position; with the colour it is the arm's own up to 64 arms."""
    return MARKERS[(index + 3 * (index // len(LIGHT))) % len(MARKERS)]


_SHAPES = {  # SVG paths around the middle of a 42 × 14 box
    "o": "M17.5 7a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z",
    "s": "M17.8 3.8h6.4v6.4h-6.4Z",
    "^": "M21 3L25 10.5H17Z",
    "D": "M21 2.4L25.6 7L21 11.6L16.4 7Z",
    "v": "M21 11L25 3.5H17Z",
    "P": "M19.6 3h2.8v2.6h2.6v2.8h-2.6V11h-2.8V8.4H17V5.6h2.6Z",
    "X": "M18.6 3L21 5.4L23.4 3L25 4.6L22.6 7L25 9.4L23.4 11L21 8.6L18.6 11L17 9.4L19.4 7L17 4.6Z",
    "*": "M21 2l1.2 3.5h3.6l-2.9 2.2l1.1 3.6L21 9.1l-3 2.2l1.1 -3.6l-2.9 -2.2h3.6Z",
}


def shape(index: int) -> str:
    """The arm's marker as an SVG path, for the page's legend."""
    return _SHAPES[marker(index)]


def dash(index: int) -> str:
    """SVG dash array of the arm's stroke at width 3; empty for a full line."""
    style = DASHES[_dash(index)]
    return "" if style == "-" else " ".join(f"{3 * length / 2.3 * 1.6:.1f}" for length in style[1])

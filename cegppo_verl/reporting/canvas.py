"""Panels to SVG, PNG and PDF, the same bytes for the same numbers; SVG made fit to be put into a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from cegppo_verl.reporting import palette

_STYLE = {
    "axes.edgecolor": palette.MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": palette.INK,
    "axes.labelsize": 10.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": palette.INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titley": 1.0,  # said, not found out: that takes a look at every tick at each drawing
    "figure.facecolor": palette.PAPER,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": palette.GRID,
    "grid.linewidth": 0.7,
    "figure.dpi": 160,
    "savefig.facecolor": palette.PAPER,
    "svg.fonttype": "none",  # text stays text: selectable, small, readable for screen readers
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.labelcolor": palette.INK,
    "text.color": palette.INK,
    "text.parse_math": False,  # an arm may be called "$x"
    "xtick.color": palette.MUTED,
    "xtick.labelcolor": palette.INK,
    "ytick.color": palette.MUTED,
    "ytick.labelcolor": palette.INK,
}
_PANEL_SIZE = (5.2, 3.5)  # inches
_LEGEND_ROW, _LEGEND_REST = 0.205, 0.22
_LEGEND_LINE, _LEGEND_GAP, _LEGEND_PAD = 0.44, 0.42, 0.08
_FONTS = "'DejaVu Sans',Verdana,sans-serif"
FORMATS = ("svg", "png", "pdf")


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        alt: what it says to those who do not see it.
        draw: fills the axes; holds numbers only, so that it can be drawn in another process.
        empty: nothing of it was recorded.
        height: in heights of an ordinary panel.
        steps: the x axis is of training steps.
    """

    title: str
    alt: str
    draw: Callable[[Axes], None]
    empty: bool = False
    height: float = 1.0
    steps: bool = True


@dataclass(frozen=True)
class LegendEntry:
    """One arm in the legend; ``index`` decides its stroke, ``state`` says what is not finished."""

    label: str
    index: int
    state: str = ""

    @property
    def text(self) -> str:
        """Label with the state in brackets, on one line and cut to a length that fits."""
        text = " ".join((f"{self.label} ({self.state})" if self.state else self.label).split())
        return text if len(text) <= 60 else text[:59] + "…"


def tag(artist: Artist, index: int) -> None:
    """Mark what belongs to the arm at this position: the page hides and shows it."""
    artist.set_gid(f"arm{index}")


def combined(panels: Sequence[Panel], legend: Sequence[LegendEntry], salt: str) -> dict[str, bytes]:
    """All panels in one figure, two to a row, legend on top: its bytes by format."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = _sheet(panels, legend)
        _settle(figure)
        return {"svg": _svg(figure), "png": _png(figure), "pdf": _pdf(figure)}


def _sheet(panels: Sequence[Panel], legend: Sequence[LegendEntry]) -> Figure:
    columns = min(2, len(panels))
    heights = [max(p.height for p in panels[i : i + columns]) for i in range(0, len(panels), columns)]
    legend_height = _LEGEND_ROW * _legend_rows(legend, columns) + _LEGEND_REST if legend else 0.0
    size = (_PANEL_SIZE[0] * columns, _PANEL_SIZE[1] * sum(heights) + legend_height)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - legend_height / size[1]), wspace=0.04, hspace=0.06)
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights).ravel()
    for panel, axis in zip(panels, axes, strict=False):
        _draw(panel, axis)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    if legend:
        _add_legend(figure, legend, columns)
    return figure


def _labels(axis: Axes) -> list[str]:
    return [axis.get_xlabel(), axis.get_ylabel(), *(text.get_text() for text in axis.texts)]


def _points(axis: Axes) -> list[list[str]]:
    """Per line its points; per collection (bars, bands, dots) its paths' corners and its dots' places."""
    tables = [line.get_xydata() for line in axis.lines]
    for collection in axis.collections:
        tables += [path.vertices for path in collection.get_paths()] + [collection.get_offsets()]
    return [[f"{value:.6g}" for value in np.ravel(np.asarray(table, float))] for table in tables]


def single(panel: Panel, salt: str) -> tuple[bytes, dict[str, object]]:
    """One panel without legend: the page stacks them on a narrow screen and has its own legend.

    Returns:
        the SVG, and what it shows, without how: title, and labels and points of all that is drawn. Numbers
        have six significant digits, so that they can be compared between machines.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        size = (_PANEL_SIZE[0], _PANEL_SIZE[1] * panel.height)
        figure = Figure(figsize=size, layout="constrained")
        axis = figure.subplots()
        _draw(panel, axis)
        shown: dict[str, object] = {"title": panel.title, "labels": _labels(axis), "points": _points(axis)}
        _settle(figure)
        return _svg(figure), shown


def render(build: Callable[[], Figure], salt: str, formats: Sequence[str]) -> dict[str, bytes]:
    """A figure of the caller's own in the style of all others: its bytes by format, svg, png or pdf."""
    writers = {"svg": _svg, "png": _png, "pdf": _pdf}
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = build()
        _settle(figure)
        return {form: writers[form](figure) for form in formats}


def inline(svg: bytes, prefix: str, alt: str) -> str:
    """An SVG as part of a page: unique ids, colours from the page's variables, a name for screen readers."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="arm(\d+)-', r'class="a\1" id="arm\1-', text)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{prefix}-', text)
    for colour, variable in palette.VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{_attribute(alt)}" ', 1)


def _attribute(text: str) -> str:
    for character, entity in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return text


def _draw(panel: Panel, axis: Axes) -> None:
    panel.draw(axis)
    axis.set_title(panel.title, pad=8)
    axis.tick_params(length=3)
    locator = axis.xaxis.get_major_locator()
    if panel.steps and isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)


def _legend_columns(legend: Sequence[LegendEntry], columns: int) -> int:
    longest = max((len(entry.text) for entry in legend), default=1)
    width = _LEGEND_LINE + _LEGEND_GAP + 0.085 * longest  # inches; 0.085 a letter, roughly
    return max(1, min(len(legend), int(_PANEL_SIZE[0] * columns / width)))


def _legend_rows(legend: Sequence[LegendEntry], columns: int) -> int:
    return -(-len(legend) // _legend_columns(legend, columns))


def _add_legend(figure: Figure, legend: Sequence[LegendEntry], columns: int) -> None:
    """Lines and texts, column by column: a ``Legend`` works out its boxes anew for every format."""
    rows, left = _legend_rows(legend, columns), _LEGEND_PAD
    for start in range(0, len(legend), rows):
        column = legend[start : start + rows]
        for row, entry in enumerate(column):
            y = figure.get_figheight() - _LEGEND_PAD - (row + 0.5) * _LEGEND_ROW
            _add_entry(figure, entry, left, y)
        left += _LEGEND_LINE + _LEGEND_GAP + max(_width(entry.text) for entry in column)


def _add_entry(figure: Figure, entry: LegendEntry, x: float, y: float) -> None:
    """Places in inches."""
    look = {**palette.stroke(entry.index), "marker": palette.marker(entry.index), "lw": 2.2, "ms": 5}
    ends = [x, x + _LEGEND_LINE / 2, x + _LEGEND_LINE]
    inches = figure.dpi_scale_trans
    figure.add_artist(Line2D(ends, [y] * 3, **look, markevery=[1], transform=inches))
    figure.text(x + _LEGEND_LINE + 0.11, y, entry.text, transform=inches, va="center_baseline")


def _width(text: str) -> float:
    """Inches that it takes in the legend."""
    font = FontProperties(size=mpl.rcParams["font.size"])
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _settle(figure: Figure) -> None:
    """Lay it out once; otherwise every format does it again, and that is most of the time."""
    for number, artist in enumerate(figure.findobj(lambda a: a.get_gid() is not None)):
        artist.set_gid(f"{artist.get_gid()}-{number}")  # ids in an SVG are unique
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine(None)  # not "none": with that one, saving draws everything twice


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode().replace("'DejaVu Sans'", _FONTS)
    return text.encode()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _pdf(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return buffer.getvalue()

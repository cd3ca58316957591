"""The files of a table of scores: one per format."""

from __future__ import annotations

from cegppo_verl.reporting.scores.csv_file import csv_file
from cegppo_verl.reporting.scores.html import html
from cegppo_verl.reporting.scores.latex import latex
from cegppo_verl.reporting.scores.markdown import markdown
from cegppo_verl.reporting.scores.model import ScoreTable

RENDERERS = {"csv": csv_file, "html": html, "md": markdown, "tex": latex}


def files(table: ScoreTable) -> dict[str, bytes]:
    """Content by extension."""
    return {extension: render(table) for extension, render in RENDERERS.items()}

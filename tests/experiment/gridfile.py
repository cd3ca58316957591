"""Grid files for tests: a sound head, and what the test is about."""

from __future__ import annotations

from pathlib import Path

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Grid, load_grid

HEAD = """\
name: test
question: Does the file say what it is meant to say?
hypothesis: It does, and no more than that.
refuted_by: Another set of cells than the one expected.
scales: [toy-s]
seeds: [1]
"""


def write(folder: Path, body: str) -> Path:
    """A grid file with this body below the head."""
    file = folder / "test.yaml"
    file.write_text(HEAD + body)
    return file


def load(folder: Path, body: str, scale: str | None = None) -> Grid:
    """The grid of such a file."""
    return load_grid(write(folder, body), scale=scale)


def cells(folder: Path, body: str, scale: str | None = None) -> list[Cell]:
    """The cells of such a file."""
    return expand(load(folder, body, scale))

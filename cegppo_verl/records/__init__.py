"""What a run leaves behind: directories, progress, metrics, samples, provenance."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load_samples(source: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """The samples of one file, of a glob, of a folder of runs, or of several of these, as one frame.

    Columns: ``records/schema.py``. ``records.samples.load_samples`` reads one run directory and builds its
    table first.

    Raises:
        UserError: nothing there, or a file is not a table of samples.
    """
    from cegppo_verl.records.table import load

    return load(source)

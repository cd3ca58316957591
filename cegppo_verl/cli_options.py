"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()
RESULTS = Path("results/runs")

GridFile = Annotated[Path, typer.Argument(help="A grid file, e.g. ablations/demo.yaml.", show_default=False)]
Scale = Annotated[str | None, typer.Option(help="Run at this scale instead of the file's, e.g. toy-xs.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Use these seeds instead of the file's.")]
Results = Annotated[Path, typer.Option(help="Folder of the run directories.")]
Arms = Annotated[list[str] | None, typer.Option("--arm", help="Only these arms.")]
Words = Annotated[
    list[str],
    typer.Argument(help="Grid files, GRID#arm, cell ids, slugs or run directories.", show_default=False),
]
Word = Annotated[
    str, typer.Argument(help="A cell: its id, slug or run directory, or GRID#arm.", show_default=False)
]

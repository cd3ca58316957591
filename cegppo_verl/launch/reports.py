"""What ``cegppo report`` does: write a report, or check that committed ones still follow from the records."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.launch import planning
from cegppo_verl.records.evaluations import ROOT, load_evaluations
from cegppo_verl.records.importers import imported_runs

if TYPE_CHECKING:
    from cegppo_verl.experiment.grid import Grid
    from cegppo_verl.reporting import ReportPaths
    from cegppo_verl.reporting.page import Aims
    from cegppo_verl.reporting.runs import RunView

EVALUATIONS = ROOT.name  # beside the folder of the runs


@dataclass(frozen=True)
class _Request:
    """Which report: a grid file with the options of its command, or a study file."""

    grid: Path
    scale: str | None = None
    seeds: tuple[int, ...] | None = None
    is_study: bool = False


def write(
    grid: Path, scale: str | None, seeds: Sequence[int] | None, results: Path, out: Path, published: Path
) -> ReportPaths:
    """Write a grid's report to ``out/<grid name>``.

    Raises:
        UserError: the grid file is wrong, or the folder cannot be written.
    """
    from cegppo_verl.reporting import write_report

    loaded, runs = _runs(grid, scale, seeds, results)
    command = planning.report_command(grid, scale, seeds)
    evaluations = load_evaluations(results.parent / EVALUATIONS)
    return write_report(_aims(loaded), runs, out, command, published, evaluations)


def check(
    grid: Path | None,
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    out: Path,
    published: Path,
    console: Console,
) -> int:
    """Build again what lies under ``out`` and say what no longer follows from the records.

    Args:
        grid: None: every report under ``out``, each by the command in its sidecar.

    Returns:
        0 when everything follows, else 1.
    """
    asked = [_Request(grid, scale, tuple(seeds) if seeds else None)] if grid else _committed(out)
    if not asked:
        raise UserError("holds no report to check", file=out, hint="write one first: cegppo report GRID")
    return max(_check_one(request, results, out, published, console) for request in asked)


def _check_one(request: _Request, results: Path, out: Path, published: Path, console: Console) -> int:
    if request.is_study:
        from cegppo_verl.launch import studies

        return studies.check(request.grid, results, out, console)
    from cegppo_verl.reporting.check import differences
    from cegppo_verl.reporting.report import build_report

    loaded, runs = _runs(request.grid, request.scale, request.seeds, results)
    command = planning.report_command(request.grid, request.scale, request.seeds)
    evaluations = load_evaluations(results.parent / EVALUATIONS)
    expected = build_report(_aims(loaded), runs, command, published, evaluations)
    found = differences(out / loaded.name, expected)
    for line in found:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    verdict = f"{len(found)} differences from its records" if found else "follows from its records"
    console.print(f"{out / loaded.name}: {verdict}", markup=False, highlight=False, soft_wrap=True)
    return int(bool(found))


def _runs(
    path: Path, scale: str | None, seeds: Sequence[int] | None, results: Path
) -> tuple[Grid, list[RunView]]:
    """The grid's own runs, then those imported into it, as arms of their own."""
    from cegppo_verl.reporting.runs import RunView, load_runs

    grid, runs = planning.run_views(path, scale, seeds, results)
    found = imported_runs(results.parent, grid.name)
    own = [entry for entry in found if not scale or entry[1].get("scale") == scale]
    return grid, [
        *runs,
        *load_runs([partial(RunView.load, folder, status, cell=cell) for folder, cell, status in own]),
    ]


def _aims(grid: Grid) -> Aims:
    from cegppo_verl.reporting.page import Aims

    return Aims(grid.name, grid.question, grid.hypothesis, grid.refuted_by)


def _committed(out: Path) -> list[_Request]:
    return [_of_command(path) for path in sorted(out.glob("*/report.md.json"))]


def _of_command(sidecar: Path) -> _Request:
    """The command beside a report, taken apart: report GRID [--scale S] [--seed N]..., or study FILE."""
    try:
        _, verb, *words = shlex.split(json.loads(sidecar.read_text())["command"])
        if verb == "study":
            return _Request(Path(words[0]), is_study=True)
        options = list(zip(words[1::2], words[2::2], strict=True))
        seeds = tuple(int(value) for name, value in options if name == "--seed")
        return _Request(Path(words[0]), dict(options).get("--scale"), seeds or None)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        hint = "write the report again: cegppo report GRID"
        raise UserError(f"names no command to repeat: {error}", file=sidecar, hint=hint) from error

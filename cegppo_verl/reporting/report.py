"""From runs to a folder: report.md, report.html, figures, tables, and a sidecar beside each.

The same records give the same bytes: no clock is read, and randomness is seeded by what it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.records import atomic
from cegppo_verl.reporting import numbers
from cegppo_verl.reporting.arms import Study, studies
from cegppo_verl.reporting.examples import examples
from cegppo_verl.reporting.figures import study_plots
from cegppo_verl.reporting.page import Page, Section
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.reporting.sidecar import provenance, sidecar
from cegppo_verl.reporting.summary import summarise
from cegppo_verl.reporting.tables import study_tables
from cegppo_verl.reporting.tracking import tracking_tables


@dataclass(frozen=True)
class ReportPaths:
    """What was written; ``files`` lists everything, sidecars included."""

    folder: Path
    markdown: Path
    html: Path
    files: tuple[Path, ...]


def write_report(
    grid_name: str,
    question: str,
    hypothesis: str,
    refuted_by: str,
    runs: Sequence[RunView],
    out_dir: Path,
    command: str,
) -> ReportPaths:
    """Write the report of a grid to ``out_dir/grid_name``.

    Args:
        runs: every planned run in the grid's order; the first one's arm is the baseline.
        command: what to type to get this report again; printed and stored.

    Raises:
        UserError: the grid has no runs, or the folder cannot be written.
    """
    contents = build_report(grid_name, question, hypothesis, refuted_by, runs, command)
    folder = out_dir / grid_name
    try:
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(folder / name, content)
    except OSError as error:
        hint = "make the folder writable, or choose another one"
        raise UserError(f"cannot write the report: {error.strerror}", file=folder, hint=hint) from error
    return ReportPaths(
        folder, folder / "report.md", folder / "report.html", tuple(folder / name for name in contents)
    )


def build_report(
    grid_name: str, question: str, hypothesis: str, refuted_by: str, runs: Sequence[RunView], command: str
) -> dict[str, bytes]:
    """The files of a report by name, in memory: what ``write_report`` writes and a check compares with.

    Raises:
        UserError: the grid has no runs.
    """
    if not runs:
        raise UserError(f"grid {grid_name} has no runs to report", hint="give the grid at least one arm")
    parts = studies(runs)
    sections = [_section(study, _suffix(study, parts)) for study in parts]
    page = Page(grid_name, question, hypothesis, refuted_by, command, sections)
    contents = {"report.md": page.markdown(), "report.html": page.html()}
    for section in sections:
        contents |= _artefacts(section)
    shared = provenance(grid_name, runs, command)
    sidecars = {f"{name}.json": sidecar(name, content, shared) for name, content in contents.items()}
    return contents | sidecars


def _section(study: Study, suffix: str) -> Section:
    accuracy = numbers.final_accuracy(study)
    return Section(
        study,
        tuple(summarise(study, accuracy)),
        (*study_tables(study, accuracy, suffix), *tracking_tables(study, suffix)),
        tuple(study_plots(study, suffix)),
        tuple(examples(study)),
    )


def _suffix(study: Study, parts: Sequence[Study]) -> str:
    """Part of the file names when there are several scales."""
    return f"-{_file_name(study.scale)}" if len(parts) > 1 else ""


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "_" for character in text)


def _artefacts(section: Section) -> dict[str, bytes]:
    files = {f"tables/{_file_name(table.name)}.csv": table.csv() for table in section.tables}
    for plot in section.plots:
        svg, png = plot.files
        files |= {f"figures/{plot.name}.svg": svg, f"figures/{plot.name}.png": png}
    return files

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
from cegppo_verl.reporting.scores import ScoreTable, load_published, paper_tables, sweep_tables
from cegppo_verl.reporting.scores.files import files as score_files
from cegppo_verl.reporting.scores.table import page_table
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
    published: Path | None = None,
) -> ReportPaths:
    """Write the report of a grid to ``out_dir/grid_name``.

    Args:
        runs: every planned run in the grid's order; the first one's arm is the baseline.
        command: what to type to get this report again; printed and stored.
        published: folder of others' numbers; what it has for this grid is shown beside ours.

    Raises:
        UserError: the grid has no runs, or the folder cannot be written.
    """
    contents = build_report(grid_name, question, hypothesis, refuted_by, runs, command, published)
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
    grid_name: str,
    question: str,
    hypothesis: str,
    refuted_by: str,
    runs: Sequence[RunView],
    command: str,
    published: Path | None = None,
) -> dict[str, bytes]:
    """The files of a report by name, in memory: what ``write_report`` writes and a check compares with.

    Raises:
        UserError: the grid has no runs, or the published numbers are damaged.
    """
    if not runs:
        raise UserError(f"grid {grid_name} has no runs to report", hint="give the grid at least one arm")
    parts = studies(runs)
    sweeps = {study.scale: sweep_tables(study, _suffix(study, parts)) for study in parts}
    whole = paper_tables(parts, load_published(published, grid_name))
    sections = [_section(study, _suffix(study, parts), sweeps[study.scale]) for study in parts]
    page = Page(grid_name, question, hypothesis, refuted_by, command, sections, tuple(map(page_table, whole)))
    contents = {"report.md": page.markdown(), "report.html": page.html()}
    for section in sections:
        contents |= _artefacts(section)
    scores = [*whole, *(table for tables in sweeps.values() for table in tables)]
    contents |= _score_artefacts(scores)
    shared = provenance(grid_name, runs, command, {k: v for table in scores for k, v in table.files.items()})
    drawn = {f"figures/{plot.name}": plot.drawn for section in sections for plot in section.plots}
    sidecars = {
        f"{name}.json": sidecar(name, content, shared, drawn.get(name.rpartition(".")[0]))
        for name, content in contents.items()
    }
    return contents | sidecars


def _score_artefacts(scores: Sequence[ScoreTable]) -> dict[str, bytes]:
    return {
        f"tables/{_file_name(table.name)}.{extension}": content
        for table in scores
        for extension, content in score_files(table).items()
    }


def _section(study: Study, suffix: str, sweeps: Sequence[ScoreTable]) -> Section:
    accuracy = numbers.final_accuracy(study)
    tables = (*study_tables(study, accuracy, suffix), *tracking_tables(study, suffix))
    return Section(
        study,
        tuple(summarise(study, accuracy)),
        tables,
        tuple(map(page_table, sweeps)),
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

"""From runs to a folder: report.md, report.html, figures, tables, and a sidecar beside each.

The same records give the same bytes: no clock is read, and randomness is seeded by what it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.records import atomic
from cegppo_verl.records.derived import sha256
from cegppo_verl.records.evaluations import Evaluation
from cegppo_verl.reporting import numbers, rendering, text
from cegppo_verl.reporting.arms import Study, studies
from cegppo_verl.reporting.cells import MOST_WITH_SAMPLES, cells
from cegppo_verl.reporting.entropy_law import law_tables
from cegppo_verl.reporting.examples import examples
from cegppo_verl.reporting.figures import Plot, study_plots
from cegppo_verl.reporting.finals import belonging, final_tables, notes
from cegppo_verl.reporting.page import Aims, Page, Section
from cegppo_verl.reporting.panels_final import laws
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.reporting.scores import ScoreTable, load_published, paper_tables, sweep_tables
from cegppo_verl.reporting.scores.files import files as score_files
from cegppo_verl.reporting.scores.table import page_table
from cegppo_verl.reporting.sidecar import PROVENANCE, linked, provenance, provenance_file
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
    aims: Aims,
    runs: Sequence[RunView],
    out_dir: Path,
    command: str,
    published: Path | None = None,
    evaluations: Sequence[Evaluation] = (),
) -> ReportPaths:
    """Write the report of a grid to ``out_dir/<its name>``.

    Args:
        runs: every planned run in the grid's order; the first one's arm is the baseline.
        command: what to type to get this report again; printed and stored.
        published: folder of others' numbers; what it has for this grid is shown beside ours.
        evaluations: final ones, of ``cegppo eval``; those of the grid's cells are shown.

    Raises:
        UserError: the grid has no runs, or the folder cannot be written.
    """
    contents = build_report(aims, runs, command, published, evaluations)
    folder = out_dir / aims.name
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
    aims: Aims,
    runs: Sequence[RunView],
    command: str,
    published: Path | None = None,
    evaluations: Sequence[Evaluation] = (),
) -> dict[str, bytes]:
    """The files of a report by name, in memory: what ``write_report`` writes and a check compares with.

    Raises:
        UserError: the grid has no runs, or the published numbers are damaged.
    """
    if not runs:
        raise UserError(f"grid {aims.name} has no runs to report", hint="give the grid at least one arm")
    parts = studies(runs)
    sweeps = {study.scale: sweep_tables(study, _suffix(study, parts)) for study in parts}
    whole = paper_tables(parts, load_published(published, aims.name))
    sections = [
        _section(study, _suffix(study, parts), sweeps[study.scale], evaluations, command, len(parts))
        for study in parts
    ]
    page = Page(aims, command, sections, tuple(map(page_table, whole)))
    rendering.draw([plot for section in sections for plot in section.plots])
    contents = {"report.md": page.markdown(), "report.html": page.html()}
    for section in sections:
        contents |= _artefacts(section)
    scores = [*whole, *(table for tables in sweeps.values() for table in tables)]
    contents |= _score_artefacts(scores)
    shared = provenance(aims.name, runs, command, {k: v for table in scores for k, v in table.files.items()})
    own = dict.fromkeys(one.folder for study in parts for one in belonging(study, evaluations))
    shared["evaluations"] = [_evaluated(one) for one in evaluations if one.folder in own]
    return contents | _sidecars(contents, shared, sections)


def _sidecars(
    contents: dict[str, bytes], shared: dict[str, Any], sections: Sequence[Section]
) -> dict[str, bytes]:
    drawn = {f"figures/{plot.name}": plot.drawn for section in sections for plot in section.plots}
    whole = provenance_file(shared)
    digest = sha256(whole)
    beside = {
        f"{name}.json": linked(name, content, shared, digest, drawn.get(name.rpartition(".")[0]))
        for name, content in contents.items()
    }
    return beside | {PROVENANCE: whole}


def _evaluated(one: Evaluation) -> dict[str, Any]:
    return {
        "subject": one.subject,
        "folder": f"{one.folder.parent.name}/{one.folder.name}",
        "decoding": dict(one.decoding),
        "records": dict(one.records),
        "notes": list(one.notes),
    }


def _score_artefacts(scores: Sequence[ScoreTable]) -> dict[str, bytes]:
    return {
        f"tables/{text.file_name(table.name)}.{extension}": content
        for table in scores
        for extension, content in score_files(table).items()
    }


def _section(
    study: Study,
    suffix: str,
    sweeps: Sequence[ScoreTable],
    evaluations: Sequence[Evaluation],
    command: str,
    studies: int,
) -> Section:
    accuracy = numbers.final_accuracy(study)
    found = {name: laws(study, name) for name in study.benchmarks}
    tables = (
        *study_tables(study, accuracy, suffix),
        *final_tables(study, evaluations, suffix),
        *law_tables(found, suffix),
        *tracking_tables(study, suffix),
    )
    plots, undrawn = study_plots(study, accuracy, found, sweeps, suffix)
    return Section(
        study,
        tuple(summarise(study, accuracy)),
        tables,
        tuple(map(page_table, sweeps)),
        tuple(plots),
        tuple(undrawn),
        tuple(examples(study)) if len(study.runs) <= MOST_WITH_SAMPLES else (),
        tuple(cells(study, command, studies)),
        tuple(notes(belonging(study, evaluations))),
    )


def figures_of(parts: Sequence[Study]) -> list[Plot]:
    """All figures of some studies, sweeps among them."""
    plots: list[Plot] = []
    for study in parts:
        suffix = _suffix(study, parts)
        found = {name: laws(study, name) for name in study.benchmarks}
        sweeps = sweep_tables(study, suffix)
        plots += study_plots(study, numbers.final_accuracy(study), found, sweeps, suffix)[0]
    return plots


def _suffix(study: Study, parts: Sequence[Study]) -> str:
    """Part of the file names when there are several scales."""
    return f"-{text.file_name(study.scale)}" if len(parts) > 1 else ""


def _artefacts(section: Section) -> dict[str, bytes]:
    files = {f"tables/{text.file_name(table.name)}.csv": table.csv() for table in section.tables}
    for plot in section.plots:
        files |= {f"figures/{plot.name}.{form}": content for form, content in plot.files.items()}
    return files

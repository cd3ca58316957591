"""The paper's Tables 1 and 2 from run records, published numbers beside; any grid's benchmarks at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.definitions import CHECKPOINT_POLICY
from cegppo_verl.reporting.scores.compare import block
from cegppo_verl.reporting.scores.measured import Contender
from cegppo_verl.reporting.scores.model import Line, Score, ScoreTable
from cegppo_verl.reporting.scores.published import PaperColumn, PaperRow, Published

BOLD = (
    "Bold: beats every other arm of its column at this scale, with at most 5 % chance that any bold of this "
    "scale is wrong (best-arm test per column, Holm over columns). *: paired difference to the scale's first "
    "arm, Holm over the column, p ≤ 0.05. Bold needs 3 seeds in every arm compared, a star in its two."
)
INTERVALS = (
    "In brackets: 95 % interval over new seeds and problems; with 1 seed, and for base, over problems only: "
    "it says nothing about another training run."
)


def paper_tables(studies: Sequence[Study], published: Published | None) -> list[ScoreTable]:
    """The published table regenerated, when the grid has one; else all benchmarks side by side, from two on.

    Args:
        studies: one per scale.
    """
    if published is not None:
        return [_paper_table(studies, published)]
    names = list(dict.fromkeys(name for study in studies for name in study.benchmarks))
    return [_overview(studies, names)] if len(names) > 1 else []


def _overview(studies: Sequence[Study], names: Sequence[str]) -> ScoreTable:
    columns = [PaperColumn(name, name) for name in names]
    lines, notes = _all_lines({s.scale: _arms(s) for s in studies}, columns)
    title = "Final accuracy on all benchmarks"
    return _table("benchmarks", title, columns, studies, lines, [BOLD, INTERVALS, *notes])


def _paper_table(studies: Sequence[Study], published: Published) -> ScoreTable:
    ours = {study.scale.lower(): study for study in studies}
    on_paper = [scale for scale in published.scales if scale.lower() in ours]
    if not on_paper:
        return _elsewhere(studies, published)
    columns = [*published.columns, *_own_columns(studies, published)]
    groups = {scale: _rows(ours.get(scale.lower()), published) for scale in published.scales}
    groups |= {
        s.scale: _rows(s, published) for s in studies if s.scale.lower() not in _lower(published.scales)
    }
    lines: list[Line] = []
    notes: list[str] = []
    for scale, rows in groups.items():
        measured, own, over = _measured_lines(scale, rows, columns)
        notes += own
        lines += _beside(measured, scale, published, columns, over)
    table = _table(published.name, published.title, columns, studies, lines, [BOLD, INTERVALS])
    return _with_published(table, published, lines, notes)


def _elsewhere(studies: Sequence[Study], published: Published) -> ScoreTable:
    """The table's rows at scales of which nothing is published: own benchmarks only."""
    names = list(dict.fromkeys(name for study in studies for name in study.benchmarks))
    columns = [PaperColumn(name, name) for name in names]
    lines, notes = _all_lines({s.scale: _rows(s, published) for s in studies}, columns)
    said = f"Rows of {published.source}; nothing is published at this scale or on these benchmarks."
    return _table(published.name, published.title, columns, studies, lines, [said, BOLD, INTERVALS, *notes])


def _lower(names: Sequence[str]) -> set[str]:
    return {name.lower() for name in names}


def _own_columns(studies: Sequence[Study], published: Published) -> list[PaperColumn]:
    known = {column.benchmark for column in published.columns}
    names = dict.fromkeys(name for study in studies for name in study.benchmarks)
    return [PaperColumn(name, name, False) for name in names if name not in known]


def _rows(study: Study | None, published: Published) -> list[Contender]:
    """The paper's rows, then the grid's arms that the paper does not have."""
    arms = study.arms if study else ()
    rows = [_row(row, study, arms) for row in published.rows]
    used = {row.arm.name for row in rows if row.arm}
    return [
        *rows,
        *(Contender(f"{arm.name} (not in the paper)", arm) for arm in arms if arm.name not in used),
    ]


def _row(row: PaperRow, study: Study | None, arms: Sequence[Arm]) -> Contender:
    if row.base:
        runs = tuple(run for run in study.runs if 0 in run.sampled_steps()) if study else ()
        return Contender(row.label, None, runs)
    return Contender(row.label, next((arm for arm in arms if _is(arm, row)), None))


def _is(arm: Arm, row: PaperRow) -> bool:
    cell = arm.runs[0].cell
    return row.is_arm(str(cell.get("algorithm")), cell.get("params") or {})


def _arms(study: Study) -> list[Contender]:
    return [Contender(arm.name, arm) for arm in study.arms]


def _measured_lines(
    scale: str, rows: Sequence[Contender], columns: Sequence[PaperColumn]
) -> tuple[list[Line], list[str], list[PaperColumn]]:
    """Lines of one scale, each with one more score than columns, the average; notes; what is averaged."""
    averaged = [column for column in columns if column.averaged]
    scores, macro, notes = block(rows, [c.benchmark for c in columns], [c.benchmark for c in averaged])
    over = [column for column in averaged if column.benchmark in macro] if len(macro) > 1 else averaged
    said = f"Average at {scale}: over {', '.join(c.title for c in over)}, equally weighted."
    lines = [_line(scale, row, found) for row, found in zip(rows, scores, strict=True)]
    return lines, [said, *notes], over


def _all_lines(
    groups: Mapping[str, Sequence[Contender]], columns: Sequence[PaperColumn]
) -> tuple[list[Line], list[str]]:
    parts = [_measured_lines(scale, rows, columns) for scale, rows in groups.items()]
    return [line for part in parts for line in part[0]], [note for part in parts for note in part[1]]


def _line(scale: str, row: Contender, scores: Sequence[Score]) -> Line:
    if row.base_runs:
        evaluations = len(row.base_runs)
        seeds = f"{evaluations} evaluation{'s' * (evaluations > 1)}"
    else:
        seeds = row.arm.seeds_text() if row.arm else "0 seeds"
    return Line(scale, row.head, tuple(scores), seeds, index=row.arm.index if row.arm else -1)


def _beside(
    lines: Sequence[Line],
    scale: str,
    published: Published,
    columns: Sequence[PaperColumn],
    over: Sequence[PaperColumn],
) -> list[Line]:
    """Each measured line, the published one below it."""
    by_label = {row.label: row for row in published.rows}
    result: list[Line] = []
    for line in lines:
        result.append(line)
        row = by_label.get(line.head)
        if row is not None and scale.lower() in _lower(published.scales):
            scores = _published_scores(row, scale, published, columns, over)
            head = f"{row.label}, published"
            result.append(Line(scale, head, scores, "1 run", "published", line.index, published.source))
    return result


def _published_scores(
    row: PaperRow,
    scale: str,
    published: Published,
    columns: Sequence[PaperColumn],
    over: Sequence[PaperColumn],
) -> tuple[Score, ...]:
    """The columns as printed; the average is taken here, over the benchmarks that ours is over."""
    found = [published.score(scale, row, column.title) for column in columns]
    parts = [published.score(scale, row, column.title) for column in over]
    known = [part for part in parts if part is not None]
    mean = sum(known) / len(known) if known and len(known) == len(parts) else None
    return tuple(
        Score(value, missing="" if value is not None else "not published") for value in (*found, mean)
    )


def _with_published(
    table: ScoreTable, published: Published, lines: Sequence[Line], notes: Sequence[str]
) -> ScoreTable:
    said = (
        f"Published: {published.source}; {published.protocol}. Never averaged with ours, in no test. The "
        "average of a published row is computed here, over the same benchmarks as ours."
    )
    return replace(table, notes=(*table.notes, said, *notes), files={published.file: published.digest})


def _table(
    name: str,
    title: str,
    columns: Sequence[PaperColumn],
    studies: Sequence[Study],
    lines: Sequence[Line],
    notes: Sequence[str],
) -> ScoreTable:
    samples = {_samples(studies, column.benchmark) for column in columns} - {0}
    k = f"avg@{samples.pop()}" if len(samples) == 1 else "avg@k"
    headers = [_header(studies, column, k == "avg@k") for column in columns]
    policy = f"Checkpoint policy: {CHECKPOINT_POLICY}."
    said = (policy, *dict.fromkeys(notes))
    return ScoreTable(name, f"{title}; {k}, %", "Arm", (*headers, "Average"), tuple(lines), said)


def _samples(studies: Sequence[Study], benchmark: str) -> int:
    """k, 0 where no run has the benchmark."""
    plans = [plan for study in studies for run in study.runs for plan in run.benchmarks]
    return max((int(plan["samples"]) for plan in plans if plan["name"] == benchmark), default=0)


def _header(studies: Sequence[Study], column: PaperColumn, with_k: bool) -> str:
    k = _samples(studies, column.benchmark)
    return f"{column.title} @{k}" if with_k and k else column.title

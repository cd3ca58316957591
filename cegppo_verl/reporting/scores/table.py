"""A table of scores as the report's page and Markdown show it, among their other tables."""

from __future__ import annotations

from cegppo_verl.reporting.scores.model import Line, Score, ScoreTable
from cegppo_verl.reporting.tables import Entry, Row, Table


def page_table(table: ScoreTable) -> Table:
    """Group and seeds become columns; the notes go into the caption."""
    columns = (
        (table.stub, "Scale", "Seeds", *table.columns)
        if _has_groups(table)
        else (table.stub, "Seeds", *table.columns)
    )
    rows = tuple(_row(table, line) for line in table.lines)
    return Table(table.name, f"{table.title}. {' '.join(table.notes)}", columns, rows)


def _has_groups(table: ScoreTable) -> bool:
    return len(table.groups()) > 1 or any(group for group, _ in table.groups())


def _row(table: ScoreTable, line: Line) -> Row:
    group = (Entry(line.group),) if _has_groups(table) else ()
    seeds = Entry(line.seeds)
    entries = tuple(_entry(table, score, line) for score in line.scores)
    return Row(line.head, max(line.index, 0), (*group, seeds, *entries))


def _entry(table: ScoreTable, score: Score, line: Line) -> Entry:
    number, interval = table.shown(score)
    absent = score.value is None or line.origin == "published"
    return Entry(f"{number} {interval}".strip(), strong=score.bold, absent=absent)

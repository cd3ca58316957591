"""A table of scores as CSV: the same rows and columns, unrounded, an empty field where there is no number."""

from __future__ import annotations

import csv
import io
from typing import Any

from cegppo_verl.reporting.scores.model import Line, ScoreTable


def csv_file(table: ScoreTable) -> bytes:
    """Per column the number; after it, as columns, interval, bold, test results and why it is missing."""
    rows = [_record(table, line) for line in table.lines]
    names = list(dict.fromkeys(("group", "row", "origin", "seeds", "source", *_names(table, rows))))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8", "replace")


def _names(table: ScoreTable, rows: list[dict[str, Any]]) -> list[str]:
    """Column by column."""
    used = dict.fromkeys(name for row in rows for name in row)
    order = {name: place for place, name in enumerate(used)}
    columns = list(table.columns)
    return sorted(used, key=lambda n: (next((i for i, c in enumerate(columns) if _of(n, c)), -1), order[n]))


def _of(name: str, column: str) -> bool:
    return name == column or name.startswith(f"{column}: ")


def _record(table: ScoreTable, line: Line) -> dict[str, Any]:
    record: dict[str, Any] = {
        "group": line.group,
        "row": line.head,
        "origin": line.origin,
        "seeds": line.seeds,
        "source": line.source,
    }
    for column, score in zip(table.columns, line.scores, strict=True):
        facts: dict[str, Any] = {
            "low": score.low,
            "high": score.high,
            "bold": score.bold or None,
            "star": score.differs or None,
        }
        facts |= {**score.facts, "missing": score.missing}
        record[column] = score.value
        record |= {f"{column}: {name}": value for name, value in facts.items()}
    return record

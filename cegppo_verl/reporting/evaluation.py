"""The table of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cegppo_verl.evaluation.results import Result
from cegppo_verl.stats.interval import Interval


def table(results: Sequence[Result], title: str) -> Table:
    """A row per benchmark: avg@k and pass@k with 95 % intervals over problems, and how the answers were."""
    columns = ("problems\n× k", "avg@k\n[95 %]", "pass@k\n[95 %]", "cut\noff", "no\nanswer", "tokens")
    shown = Table("benchmark", *columns, title=f"{title}; shares in %", title_justify="left", box=SIMPLE_HEAD)
    shown.padding, shown.show_edge = (0, 0), False
    for column in shown.columns:
        column.no_wrap = True
    for row in results:
        shown.add_row(*cells(row))
    return shown


def cells(row: Result) -> list[str]:
    """The texts of one row; what is not known is a dash."""
    complete = str(row.wanted) if row.problems == row.wanted else f"{row.problems} of {row.wanted}"
    return [
        row.task.benchmark,
        f"{complete} × {row.task.samples}",
        _percent(row.avg),
        _percent(row.pass_k),
        _share(row.truncated),
        _share(row.no_answer),
        "–" if math.isnan(row.tokens) else f"{row.tokens:.1f}",
    ]


def remarks(results: Sequence[Result]) -> list[str]:
    """What a reader must know beside the numbers: answers that nothing is known of, problems left out."""
    found = []
    for row in results:
        unread = {name: row.outcomes.get(name, 0) for name in ("timeout", "grader_error")}
        counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in unread.items() if count)
        if counts:
            found.append(f"{row.task.benchmark}: counted as wrong without a verdict: {counts}")
        if row.problems < row.wanted:
            found.append(f"{row.task.benchmark}: only problems with all {row.task.samples} answers count")
    return found


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _percent(interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.point):
        return "–"
    if math.isnan(interval.low):
        return f"{100 * interval.point:.1f}"
    return f"{100 * interval.point:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"

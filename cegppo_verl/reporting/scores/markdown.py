"""A table of scores in Markdown."""

from __future__ import annotations

from cegppo_verl.reporting import text
from cegppo_verl.reporting.scores.model import Line, Score, ScoreTable


def markdown(table: ScoreTable) -> bytes:
    """A heading, a table per group, the notes."""
    parts = [f"# {text.markdown(table.title)}"]
    for group, lines in table.groups():
        parts += [f"## {text.markdown(group)}"] if group else []
        parts.append("\n".join([*_head(table), *(_line(table, line) for line in lines)]))
    parts.append("\n".join(f"- {text.markdown(note)}" for note in table.notes))
    return ("\n\n".join(parts) + "\n").encode("utf-8", "replace")


def _head(table: ScoreTable) -> list[str]:
    columns = [table.stub, "Seeds", *table.columns]
    return [_row(map(text.markdown, columns)), "|" + " --- |" * len(columns)]


def _row(fields) -> str:  # type: ignore[no-untyped-def]
    return "| " + " | ".join(fields) + " |"


def _line(table: ScoreTable, line: Line) -> str:
    head, seeds = text.markdown(line.head), text.markdown(line.seeds)
    if line.origin == "published":
        head, seeds = f"*{head}*", f"*{seeds}*"
    return _row([head, seeds, *(_score(table, score, line) for score in line.scores)])


def _score(table: ScoreTable, score: Score, line: Line) -> str:
    number, interval = map(text.markdown, table.shown(score))
    number = f"**{number}**" if score.bold else f"*{number}*" if line.origin == "published" else number
    return f"{number} {interval}".strip()

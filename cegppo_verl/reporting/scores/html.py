"""A table of scores as a small HTML page of its own: no script, nothing fetched."""

from __future__ import annotations

from html import escape as html_escape

from cegppo_verl.reporting import text
from cegppo_verl.reporting.scores.model import Line, Score, ScoreTable

_STYLE = (
    "body{font-family:sans-serif;color-scheme:light dark;margin:2em}table{border-collapse:collapse}"
    "caption{text-align:left;font-weight:bold;padding:.5em 0}th,td{padding:.2em .7em;text-align:right}"
    "th:first-child{text-align:left}thead th{border-bottom:1px solid}tbody th[colspan]{font-style:italic}"
    "tr.published,td.absent{opacity:.7}tr.published{font-style:italic}small{white-space:nowrap}"
)

_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)


def html(table: ScoreTable) -> bytes:
    """The whole page."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in (table.stub, "Seeds", *table.columns))
    bodies = "\n".join(_group(table, group, lines) for group, lines in table.groups())
    notes = "".join(f"<li>{escape(note)}</li>\n" for note in table.notes)
    page = (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">\n{_POLICY}\n'
        f"<title>{escape(table.title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n<table>\n<caption>{escape(table.title)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n{bodies}\n</table>\n<ul>\n{notes}</ul>\n</body>\n</html>\n"
    )
    return page.encode("utf-8", "replace")


def escape(foreign: object) -> str:
    """Foreign text as text."""
    return html_escape(text.visible(foreign))


def _group(table: ScoreTable, group: str, lines: list[Line]) -> str:
    count = len(table.columns) + 2
    head = f'<tr><th colspan="{count}" scope="rowgroup">{escape(group)}</th></tr>\n' if group else ""
    return "<tbody>\n" + head + "\n".join(_line(table, line) for line in lines) + "\n</tbody>"


def _line(table: ScoreTable, line: Line) -> str:
    cells = "".join(_score(table, score) for score in line.scores)
    kind = ' class="published"' if line.origin == "published" else ""
    return f'<tr{kind}><th scope="row">{escape(line.head)}</th><td>{escape(line.seeds)}</td>{cells}</tr>'


def _score(table: ScoreTable, score: Score) -> str:
    number, interval = map(escape, table.shown(score))
    number = f"<strong>{number}</strong>" if score.bold else number
    kind = ' class="absent"' if score.value is None else ""
    return f"<td{kind}>{number}{f' <small>{interval}</small>' if interval else ''}</td>"

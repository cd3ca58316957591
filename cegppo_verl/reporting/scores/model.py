"""What a table of scores is, before anything is formatted: four small renderers turn it into files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from cegppo_verl.reporting import text

Origin = Literal["measured", "published"]


@dataclass(frozen=True)
class Score:
    """One cell of a table.

    Attributes:
        value, low, high: in the table's unit; None where there is none. A published number has no interval.
        missing: why there is no number, a few words; empty when there is one.
        bold: the claim that nothing else in the column is as good; see ``ScoreTable.notes``.
        differs: the paired difference to the baseline is significant.
        facts: further numbers for the CSV file, by name.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    missing: str = ""
    bold: bool = False
    differs: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """One row.

    Attributes:
        group: what it is listed under, e.g. the scale.
        seeds: how many runs it rests on, in words.
        index: the arm's colour; -1: none.
        source: where a published number is from.
    """

    group: str
    head: str
    scores: tuple[Score, ...]
    seeds: str = ""
    origin: Origin = "measured"
    index: int = -1
    source: str = ""


@dataclass(frozen=True)
class ScoreTable:
    """Rows by columns.

    Attributes:
        name: file name without extension.
        stub: header of the row heads.
        unit: of all numbers, e.g. "%".
        digits: decimals shown; the CSV file has all of them.
        notes: what bold, marks and missing numbers mean, one sentence each.
        files: SHA-256 of the files of published numbers it shows, by name.
    """

    name: str
    title: str
    stub: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    unit: str = "%"
    digits: int = 1
    files: dict[str, str] = field(default_factory=dict)

    def groups(self) -> list[tuple[str, list[Line]]]:
        """Lines by group, in order."""
        names = list(dict.fromkeys(line.group for line in self.lines))
        return [(name, [line for line in self.lines if line.group == name]) for name in names]

    def shown(self, score: Score) -> tuple[str, str]:
        """Number with its mark, and interval with its brackets, or the reason and nothing."""
        if score.value is None:
            return score.missing or "not recorded", ""
        number = text.number(score.value, self.digits) + ("*" if score.differs else "")
        if score.low is None or score.high is None:
            return number, ""
        low, high = (text.number(end, self.digits) for end in (score.low, score.high))
        return number, f"[{low}, {high}]"

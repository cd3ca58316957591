"""Rows into problems: the same problem in many rows is one problem, under an id that its text decides."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cegppo_verl.data import answers, reading
from cegppo_verl.data.catalog import Columns, Dataset, Wrapper
from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.extract import clean

ID_DIGITS = 12  # hex: among 100,000 problems two share one with probability 2e-5; that is then an error
NO_ANSWER = "no answer"
CONTRADICTORY = "two answers"


@dataclass(frozen=True, slots=True)
class Record:
    """One row, read. ``answer`` is None where the rule finds none."""

    place: str
    text: str
    answer: str | None
    source_id: str


@dataclass(slots=True)
class Problem:
    """One problem: its text without instructions, its answer, and how many rows have it."""

    id: str
    text: str
    answer: str
    source_id: str
    place: str
    rows: int = 1


@dataclass
class Grouped:
    """All problems in order of first appearance. ``dropped``: how many problems or rows, by reason."""

    problems: list[Problem] = field(default_factory=list)
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def repeats(self) -> tuple[int, int]:
        """The least and the most rows of a problem; (32, 32) in a file made for avg@32."""
        counts = [problem.rows for problem in self.problems]
        return min(counts, default=0), max(counts, default=0)

    def drop(self, reason: str, place: str, number: int = 1) -> None:
        """Count something that is left out, and keep the first place of its kind."""
        self.dropped[reason] += number
        self.examples.setdefault(reason, place)


def content_id(text: str) -> str:
    """The id that a problem's text decides: white space and Unicode's compositions do not matter."""
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.sha256(plain.encode()).hexdigest()[:ID_DIGITS]


def records(path: Path, dataset: Dataset) -> Iterator[Record]:
    """The rows of a source of a catalogued data set.

    Raises:
        UserError: a column is missing, or a row is not readable.
    """
    columns = reading.columns_of(path, dataset)
    own = columns is dataset.columns
    rule = dataset.answer_rule if own else "text"
    yield from _records(path, columns, rule, dataset.wrapper if own else None)


def verl_records(path: Path, columns: Columns) -> Iterator[Record]:
    """The rows of a file in verl's format."""
    yield from _records(path, columns, "text", None)


def _records(path: Path, columns: Columns, rule: str, wrapper: Wrapper | None) -> Iterator[Record]:
    extract = answers.RULES[rule]
    for number, row in reading.rows(path, columns):
        text = reading.problem_text(reading.value(row, columns.problem), path, number)
        source_id = answers.text(reading.value(row, columns.id)) if columns.id else None
        answer = extract(reading.value(row, columns.answer))
        yield Record(f"{path.name}, row {number}", _bare(text, wrapper), answer, source_id or "")


def _bare(text: str, wrapper: Wrapper | None) -> str:
    if wrapper is None:
        return text.strip()
    return text.strip().removeprefix(wrapper.before).removesuffix(wrapper.after).strip()


def group(read: Iterable[Record], *, tolerant: bool) -> Grouped:
    """Rows with the same problem become one problem.

    Args:
        tolerant: leave out, and count, rows without an answer and problems with two different ones;
            otherwise either is an error.

    Raises:
        UserError: as above, or two different problems have one id.
    """
    found, known, bad = Grouped(), dict[str, Problem](), set[str]()
    by_text: dict[str, str] = {}
    for record in read:
        found.rows += 1
        if record.answer is None:
            _refuse(found, NO_ANSWER, record.place, tolerant)
            continue
        key = by_text.get(record.text) or by_text.setdefault(record.text, content_id(record.text))
        first = known.get(key)
        if first is None:
            known[key] = Problem(key, record.text, record.answer, record.source_id, record.place)
            continue
        first.rows += 1
        if not _same(first.answer, record.answer):
            place = f"{first.place} ({first.answer[:40]}) and {record.place} ({record.answer[:40]})"
            _refuse(found, CONTRADICTORY, place, tolerant, 0 if key in bad else 1)
            bad.add(key)
    found.problems = [problem for problem in known.values() if problem.id not in bad]
    return found


def _same(one: str, other: str) -> bool:
    return one == other or clean(one) == clean(other)


def _refuse(found: Grouped, reason: str, place: str, tolerant: bool, number: int = 1) -> None:
    if not tolerant:
        hint = "correct the file, or leave such problems out with --drop"
        raise UserError(f"{place}: {reason}", hint=hint)
    found.drop(reason, place, number)

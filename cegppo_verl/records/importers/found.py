"""What an importer finds in a file, in our own shapes, before anything is written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cegppo_verl.errors import UserError

Row = dict[str, Any]
"""One sample as verl dumps it: input, output, gts, score, acc, problem_id, benchmark …, as far as known."""

Grade = Callable[[str, str], dict[str, Any]]
"""(response, truth) → acc, outcome, extracted, grader; truth: one answer, or a JSON list of accepted ones."""


@dataclass(frozen=True)
class Options:
    """What the file does not say.

    Attributes:
        step: training steps before the evaluation, for files that hold one evaluation.
        benchmark: name of the benchmark; None takes the file's own.
        metric: the metric that is the verdict (lighteval).
        grade: grades the responses anew; None believes the file's verdicts.
    """

    step: int = 0
    benchmark: str | None = None
    metric: str | None = None
    grade: Grade | None = None


@dataclass
class Found:
    """Samples by step, metrics by step, and what was left out, one sentence each."""

    samples: dict[int, list[Row]] = field(default_factory=dict)
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def graded(row: Row, options: Options) -> Row:
    """The row with the grader's verdict for its own, where there are a grader, a response and a truth."""
    if options.grade is None or not row.get("gts") or "output" not in row:
        return row
    return {**row, **options.grade(str(row["output"]), str(row["gts"]))}


def json_lines(path: Path) -> Iterator[tuple[int, Row]]:
    """Number and object of each line that is not empty.

    Raises:
        UserError: a line is no JSON object, or the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _object(path, number, line)


def _object(path: Path, number: int, line: bytes) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        cut = "cut off or damaged" if isinstance(error, ValueError) else "nested too deeply"
        raise UserError(f"no JSON, {cut}", file=path, key=f"line {number}") from None
    if not isinstance(value, dict):
        raise UserError("no JSON object", file=path, key=f"line {number}")
    return value


def zero_or_one(value: object) -> float | None:
    """A verdict out of a score that is 0/1 or ±1; None out of any other."""
    if isinstance(value, bool | int | float) and value in (-1, 0, 1):
        return float(value == 1)
    return None


def whole_step(value: object, path: Path, key: str) -> int:
    """A step as a whole number.

    Raises:
        UserError: it is none, or not in [0, 2³¹).
    """
    number = as_float(value)
    if number is None or not math.isfinite(number) or number != int(number) or not 0 <= number < 2**31:
        raise UserError(f"'{str(value)[:40]}' is no step", file=path, key=key)
    return int(number)


def as_float(value: object) -> float | None:
    """A number out of a number or its text; None out of anything else."""
    if isinstance(value, bool | int | float | str):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    return None


def require(found: Found, path: Path, what: str) -> Found:
    """``found``, unless it is empty, or none of its samples has a verdict (UserError)."""
    if not found.metrics and not any(found.samples.values()):
        raise UserError(f"holds no {what}", file=path)
    rows = [row for step in found.samples.values() for row in step]
    ungraded = sum(row.get("acc") is None for row in rows)
    if rows and ungraded == len(rows):
        raise UserError("no sample has a verdict", file=path, hint="add --grade to grade them here")
    if ungraded:
        found.notes.append(f"{ungraded} of {len(rows)} samples carry no verdict")
    return found


def one_of(names: Iterable[str], what: str, path: Path, hint: str) -> str:
    """The only name.

    Raises:
        UserError: none, or several.
    """
    known = sorted(names)
    if len(known) != 1:
        shown = ", ".join(known[:10]) or "none"
        raise UserError(f"needs exactly one {what}, found: {shown}", file=path, hint=hint)
    return known[0]

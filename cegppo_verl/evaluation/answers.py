"""One recorded answer: the columns of ``records/schema.py`` under their names, and the text itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cegppo_verl.evaluation.graders import grade, grader_id
from cegppo_verl.evaluation.grading import Verdict
from cegppo_verl.evaluation.plan import Item, Key
from cegppo_verl.records.schema import names

Record = dict[str, Any]
SHOWN = 200  # characters of the extracted answer that are stored, as in validation passes
OWN = ("asked", "sampling_seed", "response")  # beside the schema's columns
_KINDS = {"benchmark": str, "problem": str, "sample": int, "decoding": str, "asked": str, "response": str}


@dataclass(frozen=True)
class Answer:
    """What the engine gave for an item.

    Attributes:
        text: without special tokens. tokens: their number, the end token included.
        truncated: cut at the longest allowed length.
    """

    item: Item
    text: str
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class Who:
    """Whose answers they are: ``cell`` (12 hex digits), training ``seed`` and ``step``."""

    cell: str
    seed: int
    step: int


def record(who: Who, answer: Answer) -> Record:
    """Grade an answer; the record in the order of the columns.

    Raises:
        UserError: as ``graders.grade``.
    """
    item, text = answer.item, answer.text
    values = {
        "cell": who.cell,
        "seed": who.seed,
        "step": who.step,
        "benchmark": item.task.benchmark,
        "problem": item.problem.id,
        "sample": item.sample,
        **_graded(text, item),
        "length": len(text),
        "tokens": answer.tokens,
        "truncated": int(answer.truncated),
        "decoding": item.task.decoding.hash,
        "asked": item.problem.digest,
        "sampling_seed": item.seed,
        "response": text,
    }
    return {name: values[name] for name in (*names(), *OWN)}


def regraded(known: Record, item: Item) -> Record:
    """The record with the verdict of the grader that is installed now."""
    return {**known, **_graded(known["response"], item)}


def is_current(known: Mapping[str, Any], item: Item) -> bool:
    """Whether the verdict is from the grader that is installed now."""
    return known["grader"] == grader_id(item.problem.extract)


def _graded(text: str, item: Item) -> Record:
    rule = item.problem.extract
    verdict: Verdict = grade(text, item.problem.truth, rule)
    return {
        "correct": int(verdict.correct),
        "outcome": verdict.outcome,
        "extracted": verdict.extracted[:SHOWN],
        "grader": grader_id(rule),
    }


def key_of(known: Mapping[str, Any]) -> Key:
    """benchmark, problem, sample."""
    return known["benchmark"], known["problem"], known["sample"]


def parse(line: bytes) -> Record | None:
    """A recorded line; None when it is not whole: the writer was killed in the middle of it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and set(names()) <= row.keys()
    return row if whole and all(isinstance(row.get(k), kind) for k, kind in _KINDS.items()) else None


def to_line(row: Record) -> bytes:
    """One line of JSON, its end included. Plain ASCII: a lone surrogate cannot be written otherwise."""
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"

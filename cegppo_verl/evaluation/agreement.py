"""How often the grader agrees with verdicts that a person gave: the gold file.

One JSON object per line: ``answer`` (what is right), ``response``, ``verdict`` (correct, wrong or no_answer),
``kind``, ``why``, and ``extract`` where the rule is not "boxed". Verdicts follow these conventions: equal
values are equal answers, in whatever form; a rounded value is not an exact one; a unit, name or degree sign
may be left out, but a wrong one is wrong; a set and a list of solutions have no order, a tuple has; an
interval and the inequality that describes it are the same; the last complete box counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.grading import Grader

COLUMNS = {"answer", "response", "verdict", "kind", "why"}


@dataclass(frozen=True, slots=True)
class Triple:
    """A line of the gold file."""

    answer: str
    response: str
    verdict: str
    kind: str
    why: str
    extract: str = "boxed"

    @property
    def key(self) -> tuple[str, str, str]:
        """What the grader sees."""
        return self.answer, self.response, self.extract


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one kind: how many triples, how many with the same outcome, and where a point was given wrongly."""

    triples: int
    agreed: int
    too_lenient: int
    too_strict: int


def read_gold(path: Path) -> list[Triple]:
    """All triples of a gold file.

    Raises:
        UserError: no such file, not JSON, or a line with other columns.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError("cannot read the gold file", file=path, hint=str(error)) from None
    return [_triple(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]


def _triple(line: str, path: Path, number: int) -> Triple:
    try:
        row: Any = json.loads(line)
        return Triple(**row)
    except (ValueError, TypeError) as error:
        hint = f"each line needs {', '.join(sorted(COLUMNS))}, and may have extract"
        raise UserError(f"line {number} is no triple: {error}", file=path, hint=hint) from None


def outcomes(triples: Iterable[Triple], grader: Grader) -> list[tuple[Triple, str]]:
    """Each triple with the grader's outcome."""
    return [(t, grader.grade(t.response, t.answer, t.extract).outcome) for t in triples]


def by_kind(found: Iterable[tuple[Triple, str]]) -> dict[str, Agreement]:
    """Agreement per kind, and of all under "all"."""
    counts: Counter[tuple[str, str]] = Counter()
    for triple, outcome in found:
        for kind in (triple.kind, "all"):
            counts[kind, "triples"] += 1
            counts[kind, _comparison(triple.verdict, outcome)] += 1
    kinds = [kind for kind, what in counts if what == "triples" and kind != "all"]
    fields = ("triples", "agreed", "too_lenient", "too_strict")
    return {kind: Agreement(*(counts[kind, field] for field in fields)) for kind in [*kinds, "all"]}


def _comparison(verdict: str, outcome: str) -> str:
    if verdict == outcome:
        return "agreed"
    if outcome == "correct":
        return "too_lenient"
    return "too_strict" if verdict == "correct" else "other"

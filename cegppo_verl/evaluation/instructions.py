"""Grading of instruction following: every constraint of the row must hold.

The truth of a row is JSON: ``{"constraints": [{"name": …, parameters}, …], "scoring": "strict" or "loose"}``.
"""

from __future__ import annotations

import json
from functools import lru_cache

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.constraints import Constraint, read_constraints, verdicts
from cegppo_verl.evaluation.grading import Verdict

SCORINGS = ("strict", "loose")


@lru_cache(maxsize=4096)
def read_truth(truth: str) -> tuple[tuple[Constraint, ...], bool]:
    """Constraints, and whether the scoring is loose.

    Raises:
        UserError: no JSON, an unknown scoring, or constraints that are not valid.
    """
    try:
        row = json.loads(truth)
        scoring, raw = row.get("scoring", "strict"), row["constraints"]
        constraints = tuple(read_constraints(raw))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"no list of constraints: {error!r}", hint="correct the benchmark's row") from None
    if scoring not in SCORINGS:
        raise UserError(f"unknown scoring '{scoring}'", hint=f"valid: {', '.join(SCORINGS)}")
    return constraints, scoring == "loose"


def grade_instructions(response: str, truth: str) -> Verdict:
    """Whether a response follows all constraints of its row.

    ``extracted`` names those that it does not follow, or the error in the row.
    """
    try:
        constraints, loose = read_truth(truth)
    except UserError as error:
        return Verdict("grader_error", False, error.message)
    if not response.strip():
        return Verdict("no_answer", False, "")
    found = verdicts(response, constraints, loose=loose)
    missed = [item.name for item, holds in zip(constraints, found, strict=True) if not holds]
    return Verdict(
        "wrong" if missed else "correct", not missed, "not followed: " + ", ".join(missed) if missed else ""
    )

"""Which grader a row is for: how its answer is found (``extra_info["extract"]``) decides.

boxed, number, whole → math (``evaluation.grading``, unchanged); code → code; instructions → instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.evaluation import code, constraints, extract, grading, instructions
from cegppo_verl.evaluation.grading import Verdict

CODE_ID = f"sandbox+{code.VERSION}"
INSTRUCTIONS_ID = f"constraints+{constraints.VERSION}"


@dataclass(frozen=True, slots=True)
class GraderKind:
    """A grader: its name, its name with version, and what grades (response, truth, extract)."""

    name: str
    identity: Callable[[], str]
    grade: Callable[[str, str, str], Verdict]


MATH = GraderKind("math", lambda: grading.grader_id(), lambda *row: grading.grade(*row))
CODE = GraderKind("code", lambda: CODE_ID, lambda response, truth, _: code.grade_code(response, truth))
INSTRUCTIONS = GraderKind(
    "instructions",
    lambda: INSTRUCTIONS_ID,
    lambda response, truth, _: instructions.grade_instructions(response, truth),
)
BY_RULE: dict[str, GraderKind] = {
    **dict.fromkeys(extract.RULES, MATH),
    "code": CODE,
    "instructions": INSTRUCTIONS,
}


def grader_of(rule: str = "boxed") -> GraderKind:
    """The grader of rows with this ``extract``.

    Raises:
        UserError: no such rule.
    """
    if rule not in BY_RULE:
        raise UserError(
            f"unknown rule '{rule}' to find an answer", key="extract", hint=did_you_mean(rule, BY_RULE)
        )
    return BY_RULE[rule]


def grade(response: str, truth: str, extract: str = "boxed") -> Verdict:
    """The verdict on one response by the grader of its row; arguments as in :func:`grading.grade`.

    Raises:
        UserError: no such rule, or code cannot be run safely on this system.
    """
    return grader_of(extract).grade(response, truth, extract)


def grader_id(extract: str = "boxed") -> str:
    """Name and version of the grader of such rows, e.g. "math-verify-0.9.0+1" or "sandbox+1"."""
    return grader_of(extract).identity()

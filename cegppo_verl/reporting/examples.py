"""A few graded responses per arm, to look at: numbers alone hide what a policy does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cegppo_verl.records.samples import read_texts
from cegppo_verl.reporting import text
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.runs import RunView

PROBLEMS, SAMPLES, LIMIT = 3, 2, 1500


@dataclass(frozen=True)
class Example:
    """One response, ready to show (still to be escaped for HTML)."""

    problem: str
    prompt: str
    response: str
    outcome: str
    extracted: str
    expected: str


@dataclass(frozen=True)
class ArmExamples:
    """Examples of one run of an arm at one step."""

    arm: str
    index: int
    where: str
    examples: tuple[Example, ...]


def examples(study: Study) -> list[ArmExamples]:
    """For each arm that has evaluations: its first such run, at its last evaluation, the first problems."""
    return [found for arm in study.arms if (found := _of_arm(arm)) is not None]


def _of_arm(arm: Arm) -> ArmExamples | None:
    run = next((run for run in arm.runs if run.evaluations), None)
    if run is None:
        return None
    step = run.sampled_steps()[-1]
    where = f"seed {run.seed}, step {step}"
    return ArmExamples(text.visible(arm.name, 80), arm.index, where, tuple(of_run(run, step)))


def of_run(run: RunView, step: int, limit: int = LIMIT) -> list[Example]:
    """The first problems by name, the first samples of each; texts cut at ``limit`` characters."""
    rows = read_texts(run.run_dir, step)
    by_name: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault((row["benchmark"], row["problem_id"]), []).append(row)
    first = sorted(by_name, key=_natural)[:PROBLEMS]
    return [_example(row, limit) for name in first for row in by_name[name][:SAMPLES]]


def _natural(name: tuple[str, str]) -> list[tuple[bool, int, str]]:
    """words/2 before words/10."""
    parts = re.split(r"(\d{1,18})", "/".join(name))
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _example(row: dict[str, Any], longest: int) -> Example:
    def shown(key: str, limit: int = longest) -> str:
        value = row.get(key)
        return "" if value is None else text.visible(value, min(limit, longest))

    outcome = row.get("outcome") or (
        "correct" if row.get("acc") else "not correct" if "acc" in row else "no verdict"
    )
    return Example(
        text.visible(row["problem_id"], 120),
        shown("input"),
        shown("output"),
        text.visible(str(outcome).replace("_", " "), 40),
        shown("extracted", 200),
        shown("gts", 400),
    )

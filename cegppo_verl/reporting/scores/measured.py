"""Per-problem scores of an arm on a benchmark, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cegppo_verl.reporting import comparable, numbers
from cegppo_verl.reporting.arms import Arm
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.stats import cell_means, problem_counts

NOT_RUN, NOT_EVALUATED, INCOMPLETE, OTHER_GRADER = "not run", "not evaluated", "incomplete", "other grader"


@dataclass(frozen=True)
class Contender:
    """A row that is measured: an arm after training, or the model before it.

    Attributes:
        arm: None where the grid has no such arm at this scale.
        base_runs: with these the row is their model at step 0; each run's evaluation repeats the sampling.
    """

    head: str
    arm: Arm | None = None
    base_runs: tuple[RunView, ...] = ()

    @property
    def runs(self) -> tuple[RunView, ...]:
        """Runs whose evaluations count."""
        return self.base_runs or (self.arm.finished if self.arm else ())

    @property
    def step(self) -> int:
        """Which evaluation counts: the last planned step, or 0."""
        return self.arm.total_steps if self.arm and not self.base_runs else 0


@dataclass(frozen=True)
class Measured:
    """One arm on one benchmark.

    Attributes:
        scores: avg@k per training seed and problem, (S, P), NaN where a problem was not sampled; None with
            ``missing`` (a few words) and ``detail`` (a sentence) saying why.
        k: samples per problem.
    """

    scores: np.ndarray | None
    step: int
    k: int = 0
    missing: str = ""
    detail: str = ""
    graders: frozenset[str] = frozenset()


def measure(rows: Sequence[Contender], benchmark: str) -> list[Measured]:
    """All rows on the same problems; those graded otherwise than most rows are left out, and say so."""
    absent = [_absent(row, benchmark) for row in rows]
    known = [row for row, why in zip(rows, absent, strict=True) if why is None]
    problems = numbers.union([numbers.problems_of(row.runs, row.step, benchmark) for row in known])
    found = [why or _measure(row, benchmark, problems) for row, why in zip(rows, absent, strict=True)]
    common = comparable.most_common([m.graders for m in found if m.scores is not None])
    return [_same_grader(m, row, common) for m, row in zip(found, rows, strict=True)]


def _absent(row: Contender, benchmark: str) -> Measured | None:
    if row.base_runs:
        evaluated = [run for run in row.base_runs if not run.gaps(0, benchmark)]
        return None if evaluated else Measured(None, 0, missing=NOT_EVALUATED)
    if row.arm is None:
        return Measured(None, 0, missing=NOT_RUN)
    if not row.arm.finished:
        return Measured(None, row.step, missing=row.arm.missing())
    if not any((row.step, benchmark) in run.evaluations for run in row.runs):
        return Measured(None, row.step, missing=NOT_EVALUATED)
    gaps = [gap for run in row.runs for gap in run.gaps(row.step, benchmark)]
    if not gaps:
        return None
    detail = f"{row.head}: evaluation incomplete, {'; '.join(dict.fromkeys(gaps))}"
    return Measured(None, row.step, missing=INCOMPLETE, detail=detail)


def _measure(row: Contender, benchmark: str, problems: np.ndarray) -> Measured:
    runs = [run for run in row.runs if row.arm is not None or not run.gaps(row.step, benchmark)]
    table = numbers.verdicts(runs, row.step, benchmark, problems)
    if row.base_runs:  # one model, sampled again in every run: more samples and not more seeds
        table = table.transpose(1, 0, 2).reshape(1, len(problems), -1)
    graders = frozenset(grader for run in runs for grader in comparable.graders(run, row.step, benchmark))
    n, c = problem_counts(table)
    if not n.any():
        return Measured(None, row.step, missing="no verdict", graders=graders)
    return Measured(cell_means(n, c), row.step, int(n.max()), graders=graders)


def _same_grader(found: Measured, row: Contender, common: frozenset[str] | None) -> Measured:
    if found.scores is None or (found.graders == common and len(found.graders) == 1):
        return found
    names = " and ".join(sorted(found.graders))
    detail = f"{row.head}: graded by {names}; a table holds accuracies of one grader only"
    return replace(found, scores=None, missing=OTHER_GRADER, detail=detail)

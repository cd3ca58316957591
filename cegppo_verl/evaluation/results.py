"""The numbers of an evaluation: avg@k and pass@k with intervals over problems, truncation, tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cegppo_verl.evaluation.answers import Record
from cegppo_verl.evaluation.plan import Problem, Task
from cegppo_verl.evaluation.shards import Records
from cegppo_verl.stats.bootstrap import bootstrap_accuracy, bootstrap_pass_at_k
from cegppo_verl.stats.interval import Interval

RESAMPLES = 4000


@dataclass(frozen=True)
class Result:
    """One benchmark.

    Attributes:
        problems: those of which all samples are there; only these count. wanted: all that are planned.
        avg, pass_k: None without a complete problem; pass_k also with one sample per problem.
        truncated, no_answer: shares of the answers. tokens: mean per answer. NaN without answers.
        outcomes: answers by outcome.
    """

    task: Task
    problems: int
    wanted: int
    avg: Interval | None
    pass_k: Interval | None
    truncated: float
    no_answer: float
    tokens: float
    outcomes: Mapping[str, int]


def result(task: Task, records: Records) -> Result:
    """Of one benchmark; answers to another wording or under another decoding do not count."""
    rows = [r for r in (_rows(task, problem, records) for problem in task.problems) if r]
    flat = [row for group in rows for row in group]
    outcomes = Counter(row["outcome"] for row in flat)
    avg, pass_k = _intervals(task, np.array([[row["correct"] for row in group] for group in rows], float))
    return Result(
        task,
        len(rows),
        len(task.problems),
        avg,
        pass_k,
        _mean([row["truncated"] for row in flat]),
        outcomes["no_answer"] / len(flat) if flat else float("nan"),
        _mean([row["tokens"] for row in flat]),
        dict(sorted(outcomes.items())),
    )


def _rows(task: Task, problem: Problem, records: Records) -> list[Record]:
    """All k answers to a problem, or none."""
    found = [records.get((task.benchmark, problem.id, sample)) for sample in range(task.samples)]
    asked = task.decoding.hash, problem.digest
    rows = [row for row in found if row is not None and (row["decoding"], row["asked"]) == asked]
    return rows if len(rows) == task.samples else []


def _intervals(task: Task, correct: np.ndarray) -> tuple[Interval | None, Interval | None]:
    """``correct`` (P, K). The generator depends on the decoding alone: the same records, the same digits."""
    if not len(correct):
        return None, None
    seed = int(task.decoding.hash, 16)
    avg = bootstrap_accuracy(correct, np.random.default_rng(seed), n_resamples=RESAMPLES)
    if task.samples == 1:
        return avg, None
    rng = np.random.default_rng(seed)
    return avg, bootstrap_pass_at_k(correct, task.samples, rng, n_resamples=RESAMPLES)


def _mean(values: list[int]) -> float:
    return float(np.mean(values)) if values else float("nan")

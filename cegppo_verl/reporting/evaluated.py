"""Evaluations during training as a report needs them: verdicts, graders, outcomes, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cegppo_verl.records.samples import Samples, completeness

Plans = Mapping[str, Mapping[str, Any]]
"""Planned benchmarks by name, each {"name", "samples", "problems"}."""


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of one benchmark.

    Attributes:
        problems: (P,) names, sorted. verdicts: (P, K) 0 or 1, NaN where there is no sample or no verdict.
        graders: names and versions. outcomes: samples by outcome. gaps: what is missing, a sentence each.
    """

    problems: np.ndarray
    verdicts: np.ndarray
    graders: frozenset[str]
    outcomes: dict[str, int]
    gaps: tuple[str, ...]


def absent(step: int, benchmark: str) -> Evaluated:
    """An evaluation without a sample."""
    gap = f"step {step}: {benchmark}: no samples"
    return Evaluated(np.array([], str), np.empty((0, 0)), frozenset(), {}, (gap,))


def evaluations(samples: Samples, plans: Plans) -> dict[tuple[int, str], Evaluated]:
    """All evaluations of a run by step and benchmark, in this order."""
    found = _Rows(samples)
    names = dict.fromkeys((*plans, *samples.benchmarks()))
    return {
        (step, name): found.evaluated(step, name, plans.get(name, {"name": name, "samples": 1}))
        for step in samples.steps()
        for name in names
        if len(samples.rows(step, name))
    }


class _Rows:
    """The columns of a run's samples."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._sample, self._correct = samples.numbers("sample"), samples.numbers("correct")
        self._problem, self._grader, self._outcome = map(samples.names, ("problem", "grader", "outcome"))

    def evaluated(self, step: int, benchmark: str, plan: Mapping[str, Any]) -> Evaluated:
        rows = self._samples.rows(step, benchmark)
        codes, names = self._problem
        problems, at = _sorted_names(np.array(names), codes[rows])
        place = self._sample[rows]
        verdicts = np.full((len(problems), int(place.max()) + 1), np.nan)
        verdicts[at, place] = self._correct[rows]
        gaps = tuple(completeness(self._samples, step, [plan]))
        graders = frozenset(_counts(*self._grader, rows))
        return Evaluated(problems, verdicts, graders, _counts(*self._outcome, rows), gaps)


def _sorted_names(names: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The names that occur, sorted, and each row's place among them."""
    found, rows = np.unique(codes, return_inverse=True)
    order = np.argsort(names[found])
    return names[found][order], np.argsort(order)[rows]


def _counts(codes: np.ndarray, names: list[str], rows: np.ndarray) -> dict[str, int]:
    """How often each name occurs in these rows."""
    mine = codes[rows]
    counts = np.bincount(mine[mine >= 0], minlength=len(names))
    return {names[place]: int(counts[place]) for place in np.flatnonzero(counts)}

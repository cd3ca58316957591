"""From runs to verdicts, by one rule for all claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cegppo_verl.experiment.claims import Claim, Measure, StudyFile
from cegppo_verl.reporting import comparable
from cegppo_verl.reporting.claims.measures import MEASURES
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.stats import holm
from cegppo_verl.stats.by_seed import BySeed, mean_over_seeds, slope

LEVEL = 0.95
Place = tuple[str, int]  # arm and seed

SUPPORTED, REFUTED, OPEN = "supported", "refuted", "cannot tell"


@dataclass(frozen=True)
class Grid:
    """Evidence: a grid's runs and how they were made."""

    name: str
    runs: tuple[RunView, ...]
    command: str
    engine: str = ""


@dataclass(frozen=True)
class Decided:
    """A claim on one piece of evidence.

    Attributes:
        seeds: training seeds whose numbers count.
        values: one number per seed.
        result: None where there is no number; ``missing`` says why.
        p_holm: two-sided, Holm over all claims of the evidence's engine.
    """

    claim: Claim
    evidence: str
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    result: BySeed | None = None
    missing: str = ""
    p_holm: float = float("nan")

    @property
    def verdict(self) -> str:
        """supported / refuted: significant after Holm with that sign; anything else is: cannot tell."""
        if self.result is None:
            return "not run"
        if not self.p_holm < 1 - LEVEL:
            return OPEN
        return (
            SUPPORTED if (self.result.interval.point > 0) == (self.claim.expected == "positive") else REFUTED
        )


def decide(study: StudyFile, grids: Mapping[str, Grid]) -> list[Decided]:
    """Every claim on every piece of its evidence, corrected within each engine.

    Raises:
        UserError: runs that a claim compares mean different things by its measure.
    """
    found = [_one(claim, grids[name]) for claim in study.claims for name in claim.evidence]
    engines = [grids[one.evidence].engine for one in found]
    adjusted = np.full(len(found), np.nan)
    for engine in dict.fromkeys(engines):
        own = np.array([one == engine for one in engines])
        p_values = [one.result.p_value if one.result else np.nan for one in found]
        adjusted[own] = holm(np.array(p_values)[own])
    return [replace(one, p_holm=float(p)) for one, p in zip(found, adjusted, strict=True)]


def _one(claim: Claim, grid: Grid) -> Decided:
    runs = {(run.arm, run.seed): run for run in grid.runs if run.arm in claim.arms}
    empty = Decided(claim, grid.name)
    absent = [arm for arm in claim.arms if all(own != arm for own, _ in runs)]
    if absent:
        return replace(empty, missing=f"the grid has no arm {', '.join(absent)}")
    return _tested(empty, claim, measured(runs, claim.measure), runs)


def measured(runs: Mapping[Place, RunView], measure: Measure) -> dict[Place, float]:
    """The measure of every finished run that has it.

    Raises:
        UserError: it means different things in these runs.
    """
    finished = {place: run for place, run in runs.items() if run.done}
    kind = MEASURES[measure.of]
    comparable.require_one(list(finished.values()), lambda run: kind.same(run, measure), measure.of)
    values = {place: kind.value(run, measure) for place, run in finished.items()}
    return {place: value for place, value in values.items() if value is not None}


def _tested(
    empty: Decided,
    claim: Claim,
    values: Mapping[Place, float],
    planned: Mapping[Place, RunView],
) -> Decided:
    """Only seeds for which every arm has its number: arms are compared seed by seed."""
    seeds = sorted({seed for _, seed in values})
    seeds = [seed for seed in seeds if all((arm, seed) in values for arm in claim.arms)]
    if not seeds:
        return replace(empty, missing=_why(planned, values))
    table = np.array([[values[arm, seed] for arm in claim.arms] for seed in seeds])
    numbers = _numbers(claim, table)
    shown = tuple(map(float, numbers))
    return replace(empty, seeds=tuple(seeds), values=shown, result=mean_over_seeds(numbers, level=LEVEL))


def _numbers(claim: Claim, table: np.ndarray) -> np.ndarray:
    """One number per seed from (seeds, arms)."""
    if claim.slope:
        return slope(np.array(list(claim.slope.over.values())), table)
    if claim.level:
        return table[:, 0] - claim.level.than / MEASURES[claim.measure.of].factor
    return table[:, 0] - table[:, 1]


def _why(planned: Mapping[Place, RunView], values: Mapping[Place, float]) -> str:
    reasons = [run.progress() for place, run in planned.items() if place not in values]
    return "; ".join(dict.fromkeys(reasons)) or "no seed is common to all arms"


def tally(found: Sequence[Decided]) -> dict[str, int]:
    """How many claims got which verdict."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    return counts

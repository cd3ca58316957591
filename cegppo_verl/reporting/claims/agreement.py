"""Do two engines agree? One row per arm and measure of a study's ``agreements``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cegppo_verl.experiment import claims
from cegppo_verl.experiment.claims import StudyFile
from cegppo_verl.reporting import text
from cegppo_verl.reporting.claims import shown
from cegppo_verl.reporting.claims.measures import MEASURES
from cegppo_verl.reporting.claims.verdict import OPEN, Grid, measured
from cegppo_verl.stats.equivalence import Agreement, agreement

AGREE, DIFFER, ABSENT = "agree", "differ", "not run"
_CAPTION = (
    "Means over runs, and their difference with its 90 % interval by Welch's t. *Agree*: two one-sided tests "
    "exclude a difference as large as the margin (p < .05). *Differ*: the whole interval lies beyond it. The "
    "two are never averaged."
)


@dataclass(frozen=True)
class Compared:
    """An arm on two engines, in the measure's shown unit.

    Attributes:
        numbers: per side, one per run. result: None where a side has no number.
    """

    asked: claims.Agreement
    arm: str
    numbers: tuple[tuple[float, ...], tuple[float, ...]]
    result: Agreement | None

    @property
    def verdict(self) -> str:
        """Agree: a difference as large as the margin is excluded. Differ: a smaller one is."""
        if self.result is None:
            return ABSENT
        return AGREE if self.result.agree else DIFFER if self.result.differ else OPEN


def compare(study: StudyFile, grids: Mapping[str, Grid]) -> list[Compared]:
    """Every arm of every agreement that the study asks for.

    Raises:
        UserError: the measure means different things in runs of one engine.
    """
    return [_arm(asked, arm, grids) for asked in study.agreements for arm in asked.arms]


def _arm(asked: claims.Agreement, arm: str, grids: Mapping[str, Grid]) -> Compared:
    first, second = (_numbers(grids[name], arm, asked) for name in asked.between)
    result = agreement(np.array(first), np.array(second), asked.margin) if first and second else None
    return Compared(asked, arm, (first, second), result)


def _numbers(grid: Grid, arm: str, asked: claims.Agreement) -> tuple[float, ...]:
    runs = {(run.arm, run.seed): run for run in grid.runs if run.arm == arm}
    factor = MEASURES[asked.measure.of].factor
    return tuple(factor * value for _, value in sorted(measured(runs, asked.measure).items()))


def section(found: Sequence[Compared]) -> list[str]:
    """The part of the report, in paragraphs of Markdown; none when nothing was asked."""
    if not found:
        return []
    rows = shown.table(
        "measure|arm|runs:|means:|difference:|margin:|p:|verdict", [_row(one) for one in found]
    )
    return ["## Do the two engines agree?", _CAPTION, rows, *_asked(found)]


def _asked(found: Sequence[Compared]) -> list[str]:
    """What was compared and why with that margin, once each."""
    parts = []
    for one in found:
        sides, measure = " against ".join(one.asked.between), one.asked.measure
        parts.append(f"**{measure.of}**: {shown.meaning(measure)}; {sides}. {text.markdown(one.asked.why)}")
    return list(dict.fromkeys(parts))


def _row(one: Compared) -> str:
    runs = " and ".join(str(len(side)) for side in one.numbers)
    head = [one.asked.measure.of, one.arm, runs]
    if one.result is None:
        return f"| {' | '.join(head)} | | | | | {one.verdict} |"
    means = " and ".join(shown.number(float(np.mean(side))) for side in one.numbers)
    p = "" if np.isnan(one.result.p_value) else text.p_value(one.result.p_value)
    margin = shown.number(one.result.margin)
    cells = [*head, means, shown.interval(one.result.interval), margin, p, f"**{one.verdict}**"]
    return f"| {' | '.join(cells)} |"

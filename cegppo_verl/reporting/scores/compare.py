"""From per-problem scores to cells with intervals, and who may be set in bold.

Bold is a claim about a whole block of the table: an arm beats *every* other one of its column, at a level
that holds for all columns of the block together. Within a column it is the rule of ``stats.best`` (each
one-sided test at α over the number of arms); over the columns Holm's correction. A star is a difference to
the baseline, Holm over all differences of the column. Both need three seeds per arm: a run is no method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cegppo_verl.reporting.scores.measured import Contender, Measured, measure
from cegppo_verl.reporting.scores.model import Score
from cegppo_verl.stats import Interval, difference_interval, holm, mean_interval
from cegppo_verl.stats.best import MIN_SEEDS, leader

LEVEL = 0.05
PERCENT = 100


@dataclass(frozen=True)
class Column:
    """A column of a block.

    Attributes:
        arms: per row the tables (S, P_b), one per benchmark; None where there is no number.
        ranked: rows that are compared with each other.
        best: index of the row with the smallest p-value of "beats every other", that p-value times the number
            of rows ranked; None where nothing is ranked.
    """

    arms: tuple[tuple[np.ndarray, ...] | None, ...]
    cells: tuple[Score, ...]
    best: tuple[int, float] | None
    notes: tuple[str, ...] = ()


def block(
    rows: Sequence[Contender], benchmarks: Sequence[str], averaged: Sequence[str]
) -> tuple[list[list[Score]], list[str], list[str]]:
    """The scores of some arms of one scale.

    Args:
        rows: the first with an arm is the baseline.
        benchmarks: a column each, then one for the average.
        averaged: benchmarks that the average is over, as far as they were measured.

    Returns:
        rows × (benchmarks + average), the benchmarks averaged, and notes.
    """
    found = {name: measure(rows, name) for name in dict.fromkeys((*benchmarks, *averaged))}
    macro = _macro([found[name] for name in averaged], averaged)
    columns = [_column(rows, [found[name]]) for name in benchmarks]
    columns.append(
        _column(rows, [found[name] for name in macro])
        if len(macro) > 1
        else _empty([found[name] for name in averaged], len(rows))
    )
    details = [m.detail for measured in found.values() for m in measured if m.detail]
    notes = [*details, *(note for column in columns for note in column.notes)]
    cells = _bold(columns)
    return [list(row) for row in zip(*cells, strict=True)], macro, list(dict.fromkeys(notes))


def _macro(found: Sequence[Sequence[Measured]], names: Sequence[str]) -> list[str]:
    """Benchmarks that every row has which has any: an average over fewer would be another number."""
    having = {r for measured in found for r, m in enumerate(measured) if m.scores is not None}
    complete = [all(measured[r].scores is not None for r in having) for measured in found]
    return [name for name, whole in zip(names, complete, strict=True) if whole and having]


def _empty(found: Sequence[Sequence[Measured]], rows: int) -> Column:
    """No average, for the reason that the first benchmark has none."""
    reasons = [found[0][r].missing if found else "" for r in range(rows)]
    return Column((None,) * rows, tuple(Score(missing=why or "–") for why in reasons), None)


def _column(rows: Sequence[Contender], measured: Sequence[Sequence[Measured]]) -> Column:
    arms = tuple(_tables([one[r] for one in measured]) for r in range(len(rows)))
    cells = [
        Score(missing=measured[0][r].missing or "–") if arm is None else _score(arm, measured[0][r], row)
        for r, (row, arm) in enumerate(zip(rows, arms, strict=True))
    ]
    ranked = [r for r, row in enumerate(rows) if arms[r] is not None and not row.base_runs]
    if len({rows[r].step for r in ranked}) > 1:
        note = "Arms trained for different numbers of steps: none is in bold, no difference is marked."
        return Column(arms, tuple(cells), None, (note,))
    return Column(arms, tuple(_differences(rows, arms, cells, ranked)), _best(arms, ranked))


def _tables(found: Sequence[Measured]) -> tuple[np.ndarray, ...] | None:
    known = [m.scores for m in found if m.scores is not None]
    return tuple(known) if len(known) == len(found) else None


def _score(arm: Sequence[np.ndarray], measured: Measured, row: Contender) -> Score:
    interval = mean_interval(arm)
    facts = {
        "seeds": 0 if row.base_runs else interval.seeds,
        "problems": interval.problems,
        "samples": measured.k,
        "step": measured.step,
        "interval_of": interval.scope,
    }
    return Score(*_ends(interval), facts=facts)


def _ends(interval: Interval) -> tuple[float, float | None, float | None]:
    low, high = (None if np.isnan(end) else PERCENT * end for end in (interval.low, interval.high))
    return PERCENT * interval.point, low, high


def _differences(
    rows: Sequence[Contender],
    arms: Sequence[tuple[np.ndarray, ...] | None],
    cells: Sequence[Score],
    ranked: Sequence[int],
) -> list[Score]:
    """Cells with their paired difference to the baseline, which is the first row that is an arm."""
    baseline = next((r for r, row in enumerate(rows) if row.arm is not None), None)
    if baseline is None or baseline not in ranked:
        return list(cells)
    own = arms[baseline]
    assert own is not None
    found = {r: difference_interval(arm, own) for r in ranked if r != baseline and (arm := arms[r])}
    adjusted = dict(zip(found, holm(np.array([d.p_value for d in found.values()])), strict=True))
    result = list(cells)
    for r, difference in found.items():
        point, low, high = _ends(difference.interval)
        facts = {"difference": point, "difference_low": low, "difference_high": high}
        facts |= {"p": _number(difference.p_value), "p_holm": _number(adjusted[r])}
        differs = difference.interval.seeds >= MIN_SEEDS and adjusted[r] <= LEVEL
        result[r] = replace(cells[r], differs=bool(differs), facts=cells[r].facts | facts)
    return result


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _best(arms: Sequence[tuple[np.ndarray, ...] | None], ranked: Sequence[int]) -> tuple[int, float] | None:
    tables = [arm for r in ranked if (arm := arms[r]) is not None]
    if len(tables) < 2 or min(len(arm[0]) for arm in tables) < MIN_SEEDS:
        return None
    found = leader(tables)
    return None if found is None else (ranked[found[0]], min(1.0, found[1] * len(tables)))


def _bold(columns: Sequence[Column]) -> list[list[Score]]:
    """Columns of cells, Holm over the columns' claims."""
    adjusted = holm(np.array([np.nan if column.best is None else column.best[1] for column in columns]))
    result = []
    for column, p in zip(columns, adjusted, strict=True):
        cells = list(column.cells)
        if column.best is not None:
            r = column.best[0]
            cells[r] = replace(cells[r], bold=bool(p <= LEVEL), facts=cells[r].facts | {"p_best": float(p)})
        result.append(cells)
    return result

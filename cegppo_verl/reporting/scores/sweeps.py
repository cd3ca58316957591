"""Sweeps of two knobs, β1 × β2 or ε_low × ε_high: the numbers of a heat map, as tables.

A grid is a sweep when three or more arms of one algorithm differ in just these two parameters and both take
two values or more. Other parameters that differ as well make a slice each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cegppo_verl.reporting import comparable, numbers
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.definitions import CHECKPOINT_POLICY
from cegppo_verl.reporting.scores.compare import block
from cegppo_verl.reporting.scores.measured import Contender
from cegppo_verl.reporting.scores.model import Line, Score, ScoreTable
from cegppo_verl.stats import bootstrap_curves

PAIRS = (("beta1", "beta2"), ("epsilon_low", "epsilon_high"))
FEWEST = 3
NOT_IN_GRID = "not in the grid"
_BOLD = "Bold: beats every other arm of this sweep (best-arm test at 5 %, at least 3 seeds per arm)."
_INTERVALS = "In brackets: 95 % interval over new seeds and problems; with 1 seed over problems only."


@dataclass(frozen=True)
class Slice:
    """Arms that differ in two parameters only.

    Attributes:
        fixed: what else varies in the sweep, at its value here, e.g. "epsilon_high = 0.2"; may be empty.
        arms: by the pair's values (row, column).
    """

    fixed: str
    arms: Mapping[tuple[float, float], Arm]


def sweep_tables(study: Study, suffix: str = "") -> list[ScoreTable]:
    """Per pair of knobs a table per benchmark, their average where there are several, and final entropy."""
    tables = []
    for pair in PAIRS:
        slices = find_slices(study, pair)
        if slices:
            tables += _tables(study, pair, slices, suffix)
    return tables


def find_slices(study: Study, pair: tuple[str, str]) -> list[Slice]:
    """Slices that are a sweep of ``pair``, in the grid's order."""
    groups: dict[tuple[str, tuple[tuple[str, Any], ...]], dict[tuple[float, float], Arm]] = {}
    for arm in study.arms:
        params = _numbers(arm)
        if all(name in params for name in pair):
            others = tuple(sorted((k, v) for k, v in params.items() if k not in pair))
            key = (str(arm.runs[0].cell.get("algorithm")), others)
            groups.setdefault(key, {})[params[pair[0]], params[pair[1]]] = arm
    wide = {key: arms for key, arms in groups.items() if _is_sweep(arms)}
    differing = _differing([dict(others) for _, others in wide])
    return [Slice(_text(dict(key[1]), differing), arms) for key, arms in wide.items()]


def _numbers(arm: Arm) -> dict[str, Any]:
    """Parameters; an arm with a schedule is no point of a sweep."""
    params = arm.runs[0].cell.get("params") or {}
    return {} if any(isinstance(value, dict) for value in params.values()) else dict(params)


def _is_sweep(arms: Mapping[tuple[float, float], Arm]) -> bool:
    numeric = all(isinstance(value, int | float) for point in arms for value in point)
    return numeric and len(arms) >= FEWEST and all(len({point[i] for point in arms}) > 1 for i in (0, 1))


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for setting in settings for name in setting)
    return [name for name in names if len({setting.get(name) for setting in settings}) > 1]


def _text(setting: Mapping[str, Any], differing: Sequence[str]) -> str:
    return ", ".join(f"{name} = {setting.get(name)}" for name in differing)


def _tables(study: Study, pair: tuple[str, str], slices: Sequence[Slice], suffix: str) -> list[ScoreTable]:
    arms = list({arm.name: arm for part in slices for arm in part.arms.values()}.values())
    rows = [Contender(arm.name, arm) for arm in arms]
    names = list(study.benchmarks)
    columns = {f"accuracy-{name}": block(rows, [name], []) for name in names}
    if len(names) > 1:
        columns["accuracy-average"] = block(rows, [], names)
    found = [_accuracy(study, pair, slices, rows, what, cells, suffix) for what, cells in columns.items()]
    return [*found, _entropy(study, pair, slices, suffix)]


def _accuracy(
    study: Study,
    pair: tuple[str, str],
    slices: Sequence[Slice],
    rows: Sequence[Contender],
    what: str,
    cells: tuple[list[list[Score]], list[str], list[str]],
    suffix: str,
) -> ScoreTable:
    scores = {row.head: _plain(found[0]) for row, found in zip(rows, cells[0], strict=True)}
    average = f" over {', '.join(cells[1])}" if cells[1] else ""
    title = f"Final {what.replace('-', ', ', 1)}{average} {_by(pair)}, {study.scale}, %"
    notes = (f"Checkpoint policy: {CHECKPOINT_POLICY}.", _BOLD, _INTERVALS, *cells[2])
    return _grid(
        pair, slices, f"sweep-{_pair_name(pair)}-{what}{suffix}", title, lambda a: scores[a.name], notes
    )


def _plain(score: Score) -> Score:
    """Without the star: a sweep has no baseline."""
    facts = {k: v for k, v in score.facts.items() if not k.startswith(("difference", "p_holm")) and k != "p"}
    return Score(score.value, score.low, score.high, score.missing, score.bold, False, facts)


def _entropy(study: Study, pair: tuple[str, str], slices: Sequence[Slice], suffix: str) -> ScoreTable:
    apart = comparable.for_entropy(study)[1]
    tail = numbers.tail_steps(max(arm.total_steps for arm in study.arms))
    title = f"Entropy, mean of the last {tail} steps, {_by(pair)}, {study.scale}, nats per token"
    notes = ("In brackets: 95 % bootstrap interval over seeds, from two on.",)
    made = _grid(
        pair, slices, f"sweep-{_pair_name(pair)}-entropy{suffix}", title, lambda a: _final(a, apart), notes
    )
    return ScoreTable(made.name, made.title, made.stub, made.columns, made.lines, made.notes, "nats", 3)


def _by(pair: tuple[str, str]) -> str:
    return f"by {pair[0]} (rows) and {pair[1]} (columns)"


def _pair_name(pair: tuple[str, str]) -> str:
    return "beta" if pair[0] == "beta1" else "clip"


def _final(arm: Arm, apart: Mapping[str, str]) -> Score:
    if arm.name in apart:
        return Score(missing="other definition")
    values = [numbers.tail_mean(run, numbers.ENTROPY) for run in arm.finished]
    known = [value for value in values if value is not None]
    if not known:
        return Score(missing=arm.missing())
    band = bootstrap_curves(np.array(known)[:, None], numbers.rng_for("sweep", arm.name, *known))
    low, high = (None, None) if len(known) < 2 else (float(band.low[0]), float(band.high[0]))
    return Score(float(band.point[0]), low, high, facts={"seeds": len(known)})


def _grid(
    pair: tuple[str, str],
    slices: Sequence[Slice],
    name: str,
    title: str,
    score: Callable[[Arm], Score],
    notes: Sequence[str],
) -> ScoreTable:
    """Rows and columns are the values of the pair, ascending; seeds per row are those of its arms."""
    across = sorted({point[1] for part in slices for point in part.arms})
    lines = []
    for part in slices:
        for down in sorted({point[0] for point in part.arms}):
            arms = [part.arms.get((down, value)) for value in across]
            scores = tuple(Score(missing=NOT_IN_GRID) if arm is None else score(arm) for arm in arms)
            seeds = ", ".join(dict.fromkeys(arm.seeds_text() for arm in arms if arm))
            lines.append(Line(part.fixed, f"{pair[0]} = {down:g}", scores, seeds))
    return ScoreTable(
        name, title, pair[0], tuple(f"{pair[1]} = {v:g}" for v in across), tuple(lines), tuple(notes)
    )

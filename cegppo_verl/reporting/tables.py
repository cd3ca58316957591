"""Tables of one study. Text for people, and the same numbers unrounded for the CSV file beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cegppo_verl.reporting import comparable, numbers, text
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.numbers import AccuracyRow
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.stats import Interval, bootstrap_curves


@dataclass(frozen=True)
class Entry:
    """One table cell; ``absent`` marks a reason that stands in a number's place."""

    text: str
    strong: bool = False
    absent: bool = False


@dataclass(frozen=True)
class Row:
    """A row with its header; ``index`` is the arm's colour, ``run`` the run it is about, if it is one."""

    head: str
    index: int
    entries: tuple[Entry, ...]
    run: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: file name without extension.
        columns: headers, the first one for the row headers.
        records: the unrounded numbers, a flat dict per row.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    records: tuple[dict[str, Any], ...] = field(default=())

    def csv(self) -> bytes:
        """The records; an empty field is a number that does not exist."""
        fields = list(dict.fromkeys(key for record in self.records for key in record))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records)
        return buffer.getvalue().encode("utf-8", "replace")


def study_tables(study: Study, accuracy: Sequence[AccuracyRow], suffix: str = "") -> list[Table]:
    """Arms, final accuracy per benchmark, entropy, training."""
    by_benchmark = [
        accuracy_table(study, benchmark, [row for row in accuracy if row.benchmark == benchmark])
        for benchmark in study.benchmarks
    ]
    tables = [arms_table(study), *by_benchmark, entropy_table(study), training_table(study)]
    return [replace(table, name=table.name + suffix) for table in tables]


def arms_table(study: Study) -> Table:
    """What each arm is and how far it got."""
    rows = tuple(
        Row(arm.name, arm.index, (Entry(arm.description), Entry(arm.seeds_text()), _state(arm)))
        for arm in study.arms
    )
    records = tuple(
        {"arm": arm.name, "algorithm": arm.description, "seeds": len(arm.runs), "finished": len(arm.finished)}
        for arm in study.arms
    )
    columns = ("Arm", "Algorithm", "Seeds", "State")
    return Table("arms", "Arms; the first is the baseline.", columns, rows, records)


def _state(arm: Arm) -> Entry:
    states = [f"done, {run.total_steps} steps" if run.done else run.progress() for run in arm.runs]
    return Entry("; ".join(dict.fromkeys(states)), absent=not arm.finished)


def accuracy_table(study: Study, benchmark: str, rows: Sequence[AccuracyRow]) -> Table:
    """Final accuracy on one benchmark."""
    k = study.samples_per_problem(benchmark)
    pass_column = (f"pass@{k}, % [95 %]",) if k > 1 else ()
    columns = (
        "Arm",
        "Seeds",
        f"avg@{k}, % [95 %]",
        *pass_column,
        "Difference, points [95 %]",
        "p (Holm)",
        "Other outcomes",
    )
    problems = max((row.accuracy.problems for row in rows if row.accuracy), default=0)
    caption = (
        f"Final accuracy on {benchmark}: last planned step, no checkpoint selection; "
        f"{problems or 'no'} problems × {k} sample{'s' * (k > 1)}. "
        f"Difference to {study.arms[0].name}, paired per problem; bold where its interval excludes zero. "
        + seeds_caveat(study)
    )
    body = tuple(Row(row.arm.name, row.arm.index, _accuracy_entries(row, k > 1)) for row in rows)
    return Table(f"accuracy-{benchmark}", caption, columns, body, tuple(map(accuracy_record, rows)))


def seeds_caveat(study: Study) -> str:
    """What the intervals cover."""
    if study.most_seeds <= 1:
        return "1 seed per arm: intervals cover problems and samples, not training runs."
    few = " Fewer than 5 seeds: intervals tend to be too narrow." if study.most_seeds < 5 else ""
    return "Intervals: bootstrap over seeds, problems and samples." + few


def _accuracy_entries(row: AccuracyRow, with_pass: bool) -> tuple[Entry, ...]:
    seeds = Entry(row.arm.seeds_text())
    if row.accuracy is None:
        return (seeds, Entry(row.missing, absent=True), *([_DASH] * (4 if with_pass else 3)))
    pass_k = (Entry(text.percent(row.pass_k)) if row.pass_k else _DASH,) if with_pass else ()
    p = Entry(text.p_value(row.p_holm)) if not np.isnan(row.p_holm) else _DASH
    outcomes = ", ".join(f"{name} {100 * share:.1f} %" for name, share in row.outcomes) or "none"
    return (seeds, Entry(text.percent(row.accuracy)), *pass_k, _difference(row), p, Entry(outcomes))


_DASH = Entry("–", absent=True)


def _difference(row: AccuracyRow) -> Entry:
    if row.difference is None:
        return Entry(row.no_difference or "baseline", absent=True)
    interval = row.difference.interval
    return Entry(text.points(interval), strong=interval.excludes_zero)


def accuracy_record(row: AccuracyRow) -> dict[str, Any]:
    """The unrounded numbers of one arm on one benchmark."""
    difference = row.difference.interval if row.difference else None
    return {
        "arm": row.arm.name,
        "benchmark": row.benchmark,
        "step": row.step,
        "seeds": len(row.arm.finished),
        **interval_fields(f"avg@{row.k}", row.accuracy),
        **interval_fields(f"pass@{row.k}", row.pass_k),
        **interval_fields("difference", difference),
        "p": row.difference.p_value if row.difference else None,
        "p_holm": None if np.isnan(row.p_holm) else row.p_holm,
        "missing": row.missing or row.no_difference,
    }


def interval_fields(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Point and ends for a record; None where there is none."""
    parts = {"": "point", "_low": "low", "_high": "high"}
    values = {suffix: getattr(interval, part, None) for suffix, part in parts.items()}
    return {name + suffix: None if v is None or np.isnan(v) else v for suffix, v in values.items()}


def fixed_steps(total: int) -> list[int]:
    """First step, quarters, last step."""
    return sorted({max(1, round(total * share)) for share in (0, 0.25, 0.5, 0.75, 1)})


def entropy_table(study: Study) -> Table:
    """Entropy at fixed steps and at the end."""
    total = max(arm.total_steps for arm in study.arms)
    steps, tail = fixed_steps(total), numbers.tail_steps(total)
    columns = ("Arm", *(f"step {step}" for step in steps), f"mean of last {tail} steps")
    caption = "Policy entropy, nats per token" + (
        "; 1 seed per arm: one run's single-step values, which scatter from step to step"
        if study.most_seeds <= 1
        else "; mean over seeds, in brackets a 95 % bootstrap interval over seeds"
    )
    apart = comparable.for_entropy(study)[1]
    rows: list[Row] = []
    records: list[dict[str, Any]] = []
    for arm in study.arms:
        if arm.name in apart:
            other = Entry(f"not comparable: {apart[arm.name]}", absent=True)
            rows.append(Row(arm.name, arm.index, (other, *([_DASH] * (len(columns) - 2)))))
            records.append({"arm": arm.name, "missing": f"not comparable: {apart[arm.name]}"})
            continue
        values = [[numbers.value_at(run, numbers.ENTROPY, step) for run in arm.runs] for step in steps]
        values.append([numbers.tail_mean(run, numbers.ENTROPY) for run in arm.runs])
        rows.append(Row(arm.name, arm.index, tuple(_seed_mean(arm, found) for found in values)))
        records.append({"arm": arm.name} | dict(zip(columns[1:], map(_mean, values), strict=True)))
    return Table("entropy", caption + ".", columns, tuple(rows), tuple(records))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _seed_mean(arm: Arm, values: Sequence[float | None]) -> Entry:
    known = [value for value in values if value is not None]
    if not known:
        return Entry(arm.missing(), absent=True)
    partial = f" ({len(known)} of {len(values)} seeds)" if len(known) < len(values) else ""
    band = bootstrap_curves(np.array(known)[:, None], numbers.rng_for("entropy", arm.name, *known))
    shown = text.number(band.point[0], 3)
    if len(known) > 1:
        shown += f" [{text.number(band.low[0], 3)}, {text.number(band.high[0], 3)}]"
    return Entry(shown + partial)


@dataclass(frozen=True)
class _Column:
    title: str
    key: str
    read: Callable[[RunView], float | None]
    show: Callable[[float], str]


def _outside(regions: Sequence[str]) -> Callable[[RunView], float | None]:
    return lambda run: numbers.pooled_outside_share(run, regions)


def _median(key: str) -> Callable[[RunView], float | None]:
    return lambda run: numbers.median(run, key)


def _share(value: float) -> str:
    return f"{100 * value:.2f}"


_TRAINING = (
    _Column("s per step", "seconds_per_step", _median(numbers.STEP_TIME), lambda value: f"{value:.1f}"),
    _Column("below, %", "below", _outside(numbers.BELOW), _share),
    _Column("above, %", "above", _outside(numbers.ABOVE), _share),
    _Column("clipped by PPO, %", "clipped", _outside(numbers.CLIPPED), _share),
    _Column("weight outside, %", "weight_outside", numbers.weight_share, _share),
    _Column("|Δp|", "probability_difference", _median(numbers.PROBABILITY_DIFFERENCE), text.scientific),
)


_TRAINING_COLUMNS = (
    "s per step: wall clock, median over steps. Below, above: tokens outside the clip interval, share of all "
    "trained tokens; clipped by PPO: those below with Â < 0 or above with Â > 0; weight outside: share of "
    "Σ|w·Â| on all tokens outside. |Δp|: mean difference between the rollout's and the trainer's probability "
    "of a token, median over steps."
)


def training_table(study: Study) -> Table:
    """Cost, clip activity and numerical agreement, run by run."""
    columns = ("Run", "Steps", *(column.title for column in _TRAINING))
    values = {run.name: [column.read(run) for column in _TRAINING] for run in study.runs}
    rows = tuple(
        Row(f"{run.arm}, seed {run.seed}", arm.index, _training_entries(run, values[run.name]), run.name)
        for arm in study.arms
        for run in arm.runs
    )
    records = tuple(_training_record(run, values[run.name]) for run in study.runs)
    return Table("training", f"Training, run by run. {_TRAINING_COLUMNS}", columns, rows, records)


def _training_record(run: RunView, values: Sequence[float | None]) -> dict[str, Any]:
    named = {column.key: value for column, value in zip(_TRAINING, values, strict=True)}
    return {"run": run.name, "steps": run.metrics.last_step, **named}


def _training_entries(run: RunView, values: Sequence[float | None]) -> tuple[Entry, ...]:
    trained = run.metrics.last_step
    if trained is None:
        return (Entry(run.progress(), absent=True), *([_DASH] * len(_TRAINING)))
    cells = [
        Entry("not recorded", absent=True) if value is None else Entry(column.show(value))
        for column, value in zip(_TRAINING, values, strict=True)
    ]
    return (Entry(f"{trained} of {run.total_steps}"), *cells)

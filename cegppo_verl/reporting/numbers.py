"""The numbers of a report, from records to estimates. No formatting here.

A number that cannot be had is None and its reason is kept beside it; it is never 0.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial, reduce
from typing import Any

import numpy as np

from cegppo_verl.reporting import comparable, parallel
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.stats import (
    Interval,
    PairedDifference,
    ProblemDraws,
    avg_at_k,
    bootstrap_accuracy,
    bootstrap_pass_at_k,
    holm,
    paired_difference,
)
from cegppo_verl.stats.interval import no_interval

ENTROPY = "actor/entropy"
PROBABILITY_DIFFERENCE = "training/rollout_probs_diff_mean"
STEP_TIME = "timing_s/step"
ANATOMY = "actor/anatomy/"  # counts, see verl_plugin/diagnostics.py
BELOW, ABOVE = ("neg_below", "pos_below"), ("neg_above", "pos_above")
CLIPPED = ("neg_below", "pos_above")  # where PPO-clip has no gradient
CURVE_RESAMPLES, TABLE_RESAMPLES = 1000, 4000
MANY_ARMS = 12  # beside the baseline; their intervals are made on all cores


def rng_for(*labels: object) -> np.random.Generator:
    """A generator that depends on the labels alone: no number depends on what else is in the report."""
    return np.random.default_rng(seed_for(*labels))


def seed_for(*labels: object) -> int:
    """A seed made of the labels."""
    digest = hashlib.sha256("|".join(map(str, labels)).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")


@dataclass(frozen=True)
class AccuracyRow:
    """One arm on one benchmark at its last planned step.

    Attributes:
        accuracy, pass_k: None with ``missing`` saying why.
        difference: against the baseline arm; None for the baseline itself and where it cannot be had
            (``no_difference`` says why).
        p_holm: sign-flip p-value after Holm over all differences of the study; NaN when there is none.
        outcomes: share of samples per outcome other than correct and wrong.
    """

    arm: Arm
    benchmark: str
    step: int
    k: int
    accuracy: Interval | None
    pass_k: Interval | None
    missing: str
    difference: PairedDifference | None = None
    no_difference: str = ""
    p_holm: float = float("nan")
    outcomes: tuple[tuple[str, float], ...] = ()


def verdicts(runs: Sequence[RunView], step: int, benchmark: str, problems: np.ndarray) -> np.ndarray:
    """``correct`` (S, P, K), NaN where a sample does not exist; problems in the order given."""
    found = [run.evaluation(step, benchmark) for run in runs]
    depth = max((one.verdicts.shape[1] for one in found), default=1) or 1
    table = np.full((len(runs), len(problems), depth), np.nan)
    for seed, one in enumerate(found):
        rows = _places(one.problems, problems)
        table[seed, rows[rows >= 0], : one.verdicts.shape[1]] = one.verdicts[rows >= 0]
    return table


def _places(own: np.ndarray, problems: np.ndarray) -> np.ndarray:
    """Where each of a run's problems stands among all of them, −1 where it does not."""
    if own is problems or np.array_equal(own, problems):  # as is usual: every run was asked the same ones
        return np.arange(len(own))
    position = {problem: row for row, problem in enumerate(problems)}
    return np.array([position.get(str(problem), -1) for problem in own], int)


def problems_of(runs: Sequence[RunView], step: int, benchmark: str) -> np.ndarray:
    """Problem ids (P,) that occur in any of the runs, sorted."""
    return union([run.evaluation(step, benchmark).problems for run in runs])


def union(names: Sequence[np.ndarray]) -> np.ndarray:
    """The names that occur in any of these, sorted; each is sorted and has no name twice."""
    different = list({id(one): one for one in names}.values())  # of equal ones there is one array, mostly
    return different[0] if len(different) == 1 else np.unique(np.concatenate([np.array([], str), *different]))


def accuracy_at(
    runs: Sequence[RunView], step: int, benchmark: str, resamples: int = CURVE_RESAMPLES
) -> Interval:
    """avg@k of these runs at one evaluation."""
    table = verdicts(runs, step, benchmark, problems_of(runs, step, benchmark))
    rng = rng_for("accuracy", benchmark, step, *(run.name for run in runs))
    return bootstrap_accuracy(table, rng, n_resamples=CURVE_RESAMPLES)


def accuracy_curve(runs: Sequence[RunView], benchmark: str) -> list[tuple[int, Interval]]:
    """Steps that all these runs have evaluated completely, with avg@k and interval."""
    return [(step, accuracy_at(runs, step, benchmark)) for step in _common_steps(runs, benchmark)]


def accuracy_points(runs: Sequence[RunView], benchmark: str) -> list[tuple[int, Interval]]:
    """As ``accuracy_curve``, without the intervals, which take most of the time."""
    found = []
    for step in _common_steps(runs, benchmark):
        table = verdicts(runs, step, benchmark, problems_of(runs, step, benchmark))
        found.append((step, no_interval(avg_at_k(table), 0.95, len(runs), table.shape[1])))
    return found


def _common_steps(runs: Sequence[RunView], benchmark: str) -> list[int]:
    return sorted(set.intersection(*(set(run.evaluated_steps(benchmark)) for run in runs)) if runs else ())


def final_accuracy(study: Study) -> list[AccuracyRow]:
    """A row per benchmark and arm; differences are against the first arm, Holm is over all of them.

    The same problems are drawn for all arms of a benchmark, so that their intervals differ by the answers.
    """
    depths = {name: study.samples_per_problem(name) for name in study.benchmarks}
    draws = {name: ProblemDraws(seed_for("problems", name)) for name in depths}
    first = {name: _accuracy_row(study.arms[0], name, k, draws[name]) for name, k in depths.items()}
    others = study.arms[1:]

    def of_arm(number: int) -> list[dict[str, Any]]:
        found = [_accuracy_row(others[number], name, k, draws[name]) for name, k in depths.items()]
        rows = [_with_difference(row, first[row.benchmark], draws[row.benchmark]) for row in found]
        return [_without_arm(row) for row in rows]

    by_arm = parallel.spread(of_arm, len(others), least=MANY_ARMS)
    rows: list[AccuracyRow] = []
    for place, name in enumerate(depths):
        rows += [first[name], *(AccuracyRow(a, **m[place]) for a, m in zip(others, by_arm, strict=True))]
    adjusted = holm(np.array([row.difference.p_value if row.difference else np.nan for row in rows]))
    return [replace(row, p_holm=float(p)) for row, p in zip(rows, adjusted, strict=True)]


def _without_arm(row: AccuracyRow) -> dict[str, Any]:
    """What another process need not send back: the arm, with all its runs."""
    return {field.name: getattr(row, field.name) for field in fields(row) if field.name != "arm"}


def _accuracy_row(arm: Arm, benchmark: str, k: int, draws: ProblemDraws) -> AccuracyRow:
    step = arm.total_steps
    empty = AccuracyRow(arm, benchmark, step, k, None, None, "")
    if not arm.finished:
        return replace(empty, missing=arm.missing())
    gaps = [gap for run in arm.finished for gap in run.gaps(step, benchmark)]
    if gaps:
        return replace(empty, missing="evaluation incomplete: " + "; ".join(dict.fromkeys(gaps)))
    table = verdicts(arm.finished, step, benchmark, problems_of(arm.finished, step, benchmark))
    if np.isnan(table).all():
        return replace(empty, missing="no sample carries a verdict")
    names = [run.name for run in arm.finished]
    rng = rng_for("final", benchmark, *names)
    accuracy = bootstrap_accuracy(table, rng, n_resamples=TABLE_RESAMPLES, draws=draws)
    pass_k = _pass_k(table, k, rng_for("pass", benchmark, *names), draws)
    return replace(empty, accuracy=accuracy, pass_k=pass_k, outcomes=_outcomes(arm, step, benchmark))


def _pass_k(table: np.ndarray, k: int, rng: np.random.Generator, draws: ProblemDraws) -> Interval | None:
    return bootstrap_pass_at_k(table, k, rng, n_resamples=TABLE_RESAMPLES, draws=draws) if k > 1 else None


def _outcomes(arm: Arm, step: int, benchmark: str) -> tuple[tuple[str, float], ...]:
    counts: Counter[str] = Counter()
    for run in arm.finished:
        counts.update(run.evaluation(step, benchmark).outcomes)
    total = counts.total()
    others = sorted(counts.keys() - {"correct", "wrong"})
    return tuple((name, counts[name] / total) for name in others)


def _with_difference(row: AccuracyRow, baseline: AccuracyRow, draws: ProblemDraws) -> AccuracyRow:
    if row.accuracy is None or baseline.accuracy is None:
        return row if row.accuracy is None else replace(row, no_difference=f"baseline {baseline.missing}")
    if row.step != baseline.step:
        return replace(row, no_difference=f"not compared: {row.step} against {baseline.step} steps")
    runs = (*row.arm.finished, *baseline.arm.finished)
    by = {name for run in runs for name in comparable.graders(run, row.step, row.benchmark)}
    if len(by) > 1:
        return replace(row, no_difference=f"not compared: graded by {' and '.join(sorted(by))}")
    problems = problems_of(runs, row.step, row.benchmark)
    own = verdicts(row.arm.finished, row.step, row.benchmark, problems)
    other = verdicts(baseline.arm.finished, row.step, row.benchmark, problems)
    rng = rng_for("difference", row.benchmark, *(run.name for run in runs))
    difference = paired_difference(own, other, rng, n_resamples=TABLE_RESAMPLES, draws=draws)
    if difference.interval.problems == 0:
        return replace(row, no_difference="no problem in common")
    return replace(row, difference=difference)


def curve(run: RunView, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values of one key."""
    steps, values = run.metrics.series(key)
    finite = np.isfinite(values)
    return (steps, values) if finite.all() else (steps[finite], values[finite])


def value_at(run: RunView, key: str, step: int) -> float | None:
    """The value logged at one step."""
    steps, values = curve(run, key)
    hit = values[steps == step]
    return float(hit[0]) if len(hit) else None


def tail_steps(total: int) -> int:
    """How many last steps "at the end" averages over: a tenth of the run, at least three."""
    return min(total, max(3, round(total / 10)))


def tail_mean(run: RunView, key: str) -> float | None:
    """Mean over the last steps; None unless the run has logged each of them."""
    steps, values = curve(run, key)
    count = tail_steps(run.total_steps)
    last = values[steps > run.total_steps - count]
    return float(last.mean()) if count and len(last) == count else None


def median(run: RunView, key: str) -> float | None:
    """Median over all logged steps."""
    values = curve(run, key)[1]
    return float(np.median(values)) if len(values) else None


def outside_share(run: RunView, regions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and share of tokens that lie in these regions; only steps at which all counts were logged."""
    steps, parts, total = _counts(run, regions, "tokens")
    return steps, parts.sum(0) / total


def weight_share(run: RunView) -> float | None:
    """Share of Σ|w·Â| on tokens outside the interval, over the whole run."""
    return pooled(run, ["weight_abs_outside"], "weight_abs")


def pooled_outside_share(run: RunView, regions: Sequence[str]) -> float | None:
    """Share of all trained tokens that lie in these regions."""
    return pooled(run, regions, "tokens")


def pooled(run: RunView, names: Sequence[str], total: str) -> float | None:
    """Sum of these counts of the anatomy over another one, over the whole run."""
    _, parts, whole = _counts(run, names, total)
    return float(parts.sum() / whole.sum()) if len(whole) else None


def pooled_ratio(run: RunView, names: Sequence[str], of: Sequence[str]) -> float | None:
    """As ``pooled``, over the sum of several counts; ``names`` are among them."""
    _, parts, _ = _counts(run, of, "tokens")
    whole = parts.sum()
    return float(parts[[list(of).index(name) for name in names]].sum() / whole) if whole > 0 else None


def training_seconds(run: RunView) -> float | None:
    """Sum of the steps' wall clock; None unless each planned step has logged its own."""
    steps, values = curve(run, STEP_TIME)
    return float(values[steps > 0].sum()) if (steps > 0).sum() == run.total_steps > 0 else None


def plain_accuracy(run: RunView, step: int, benchmark: str) -> float:
    """avg@k of one run at one evaluation, without an interval; NaN without verdicts."""
    return avg_at_k(run.evaluation(step, benchmark).verdicts)


def _counts(run: RunView, names: Sequence[str], total: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps (T,), counts (names, T) and total (T,) of the anatomy, where all are logged and total > 0."""
    common, table = on_common_steps([curve(run, f"{ANATOMY}{name}") for name in (*names, total)])
    known = table[-1] > 0
    return common[known], table[:-1, known], table[-1, known]


def on_common_steps(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps (T,) that all curves have, ascending, and their values there (curves, T)."""
    if not curves:
        return np.empty(0, np.int64), np.empty((0, 0))
    common = curves[0][0]
    if all(steps is common or np.array_equal(steps, common) for steps, _ in curves):  # as is usual
        return common, np.array([values for _, values in curves])
    common = reduce(partial(np.intersect1d, assume_unique=True), (steps for steps, _ in curves))
    return common, np.array([values[np.isin(steps, common)] for steps, values in curves])

"""The result in words, generated from the numbers, so that it cannot say more than they do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from cegppo_verl.reporting import comparable, numbers, text
from cegppo_verl.reporting.arms import Arm, Study
from cegppo_verl.reporting.numbers import AccuracyRow
from cegppo_verl.reporting.runs import RunView
from cegppo_verl.stats import Interval

FEW = 6  # arms; of more a sentence each would bury the rest
INACTIVE = 0.001  # below this share of tokens the methods of this family hardly differ


def summarise(study: Study, accuracy: Sequence[AccuracyRow]) -> list[str]:
    """Plain sentences, most important caveat first."""
    return [
        *_seeds(study),
        *_unfinished(study),
        *_entropy(study),
        *(sentence for name in study.benchmarks for sentence in _accuracy(study, name, accuracy)),
        *_clip(study),
    ]


def _seeds(study: Study) -> list[str]:
    if not study.most_seeds:
        return ["No run has finished: nothing to compare yet."]
    if study.most_seeds == 1:
        return ["1 seed per arm: no claim about the methods; what follows describes these runs."]
    few = " With so few seeds the intervals tend to be too narrow." if study.most_seeds < 5 else ""
    return [f"Up to {study.most_seeds} seeds per arm.{few}"]


def _unfinished(study: Study) -> list[str]:
    states = [f"{run.arm} seed {run.seed}: {run.progress()}" for run in study.runs if not run.done]
    total = len(study.runs)
    return [f"{total - len(states)} of {total} runs finished; {'; '.join(states)}."] if states else []


def _entropy(study: Study) -> list[str]:
    tail = numbers.tail_steps(max(arm.total_steps for arm in study.arms))
    whole = study
    study, apart = comparable.for_entropy(study)
    left_out = [
        f"Entropy of {name} is another quantity and not compared: {why}." for name, why in apart.items()
    ]
    ends = [(arm, mean) for arm in study.arms if (mean := _end_entropy(arm)) is not None]
    if len(ends) < 2:
        return left_out
    lengths = {arm.total_steps for arm, _ in ends}
    if len(lengths) > 1:
        return ["Entropy at the end is not compared: the arms have different numbers of steps.", *left_out]
    ranked = sorted(ends, key=lambda end: -end[1])
    listing = ", ".join(f"{arm.name} {mean:.3f}" for arm, mean in ranked)
    unit = f"nats per token, mean of the last {tail} steps"
    high, low = ranked[0][0].name, ranked[-1][0].name
    ends_at = (
        f"highest in {high} and lowest in {low}" if ranked[0][1] > ranked[-1][1] else "equal in all arms"
    )
    first = f"Entropy ended {ends_at} ({listing}; {unit})."
    baseline = ends[0][0]
    others = [arm for arm, _ in ends[1:]] if baseline is whole.arms[0] and len(ends) <= FEW else []
    return [first, *(_below(arm, baseline) for arm in others), *left_out]


def _end_entropy(arm: Arm) -> float | None:
    means = [numbers.tail_mean(run, numbers.ENTROPY) for run in arm.finished]
    known = [mean for mean in means if mean is not None]
    return float(np.mean(known)) if known else None


def _below(arm: Arm, baseline: Arm) -> str:
    steps, own, other = _common(arm, baseline)
    below, above = int((own < other).sum()), int((own > other).sum())
    comparison = f"below {baseline.name}'s at {below} and above it at {above} of {len(steps)} steps"
    return f"Entropy of {arm.name} was {comparison}."


def _common(arm: Arm, baseline: Arm) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Mean entropy over finished seeds of both arms, at the steps that all these runs logged."""
    tables = [[_by_step(run) for run in one.finished] for one in (arm, baseline)]
    steps = sorted(set.intersection(*(set(curve) for curves in tables for curve in curves)))
    own, other = (np.array([[curve[s] for s in steps] for curve in curves]).mean(0) for curves in tables)
    return steps, own, other


def _by_step(run: RunView) -> dict[int, float]:
    steps, values = numbers.curve(run, numbers.ENTROPY)
    return dict(zip(steps.tolist(), values.tolist(), strict=True))


def _accuracy(study: Study, benchmark: str, rows: Sequence[AccuracyRow]) -> list[str]:
    own = [(row, row.accuracy) for row in rows if row.benchmark == benchmark and row.accuracy is not None]
    if not own:
        return []
    k = study.samples_per_problem(benchmark)
    listing = ", ".join(f"{row.arm.name} {text.percent(interval)}" for row, interval in own)
    first = f"Final accuracy on {benchmark}, avg@{k} in % with 95 % interval: {listing}. {_overlap(own)}"
    compared = [row for row, _ in own if row.difference]
    if len(compared) < FEW:
        return [first.strip(), *(_difference(row, study) for row in compared)]
    apart = [row for row in compared if row.difference and row.difference.interval.excludes_zero]
    others = len(compared) - len(apart)
    rest = (
        f"On {benchmark} {others} of {len(compared)} arms are not told apart from {study.arms[0].name}: "
        "their intervals of the paired difference include zero (table and figure of differences)."
    )
    return [first.strip(), *(_difference(row, study) for row in apart), *([rest] if others else [])]


def _overlap(rows: Sequence[tuple[AccuracyRow, Interval]]) -> str:
    pairs = list(combinations(rows, 2))
    apart = [f"{a.arm.name} and {b.arm.name}" for (a, x), (b, y) in pairs if not x.overlaps(y)]
    if not pairs:
        return ""
    return f"The intervals of {'; '.join(apart)} do not overlap." if apart else "All intervals overlap."


def _difference(row: AccuracyRow, study: Study) -> str:
    assert row.difference is not None
    interval = row.difference.interval
    known = not np.isnan(row.p_holm)
    p = f" (p {text.p_relation(row.p_holm)} after Holm, for these trained models)" if known else ""
    verdict = "excludes zero" if interval.excludes_zero else "includes zero: not told apart by these data"
    return (
        f"{row.arm.name} against {study.arms[0].name} on {row.benchmark}, paired per problem: "
        f"{text.points(interval)} points{p}; the interval {verdict}."
    )


def _clip(study: Study) -> list[str]:
    shares = [(arm, share) for arm in study.arms if (share := _outside(arm)) is not None]
    if not shares:
        return ["Clip activity was not recorded."] if study.most_seeds else []
    listing = ", ".join(f"{arm.name} {100 * share:.2f} %" for arm, share in shares)
    idle = all(share < INACTIVE for _, share in shares)
    verdict = " The clip was hardly active: these methods can barely differ here." if idle else ""
    return [f"Tokens outside the clip interval: {listing}.{verdict}"]


def _outside(arm: Arm) -> float | None:
    shares = [numbers.pooled_outside_share(run, numbers.BELOW + numbers.ABOVE) for run in arm.runs]
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None

"""Final numbers of ``cegppo eval``: models evaluated after training, each under its own decoding.

They are another measurement than the evaluations during training (other decoding, often other problems) and
are never paired or averaged with those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cegppo_verl.records.evaluations import Evaluation
from cegppo_verl.reporting import text
from cegppo_verl.reporting.arms import Study
from cegppo_verl.reporting.numbers import TABLE_RESAMPLES, rng_for
from cegppo_verl.reporting.tables import Entry, Row, Table, interval_fields
from cegppo_verl.stats import bootstrap_accuracy, bootstrap_pass_at_k


@dataclass(frozen=True)
class _Group:
    """What one row is about: one model or one arm's seeds, one step, one decoding, one grader."""

    head: str
    index: int
    members: tuple[Evaluation, ...]


def final_tables(study: Study, evaluations: Sequence[Evaluation], suffix: str = "") -> list[Table]:
    """A table per benchmark; none when nothing of this study was evaluated."""
    own = belonging(study, evaluations)
    names = dict.fromkeys(name for one in own for name in one.k)
    return [_table(study, name, [one for one in own if name in one.k], suffix) for name in names]


def belonging(study: Study, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Those of the study's cells, and of its scale before training; the latter first."""
    ids = {run.cell.get("id") for run in study.runs}
    base = [one for one in evaluations if one.kind == "base" and one.scale == study.scale]
    return [*base, *(one for one in evaluations if one.kind == "cell" and one.cell in ids)]


def _table(study: Study, benchmark: str, own: Sequence[Evaluation], suffix: str) -> Table:
    groups = _groups(study, benchmark, own)
    rows, records = zip(*(_row(benchmark, group) for group in groups), strict=True)
    columns = ("Model", "Step", "Seeds", "Problems × k", "avg@k, % [95 %]", "pass@k, % [95 %]")
    caption = (
        f"Final evaluation on {benchmark} by cegppo eval, only where every answer is recorded. Decoding is "
        "another than in training, and generated problems are numbered anew: not comparable with the tables "
        "above. Answers that timed out or could not be graded count as wrong and are listed."
    )
    more = ("Cut off, %", "Tokens", "Other outcomes", "Decoding")
    return Table(f"final-{benchmark}{suffix}", caption, (*columns, *more), tuple(rows), tuple(records))


def _groups(study: Study, benchmark: str, own: Sequence[Evaluation]) -> list[_Group]:
    """Seeds of an arm are one row only if they answered the same problems, alike decoded and graded."""
    arms = {run.cell.get("id"): arm for arm in study.arms for run in arm.runs}
    found: dict[tuple[object, ...], list[Evaluation]] = {}
    for one in own:
        arm = arms.get(one.cell) if one.kind == "cell" else None
        rows = one.samples[one.samples["benchmark"] == benchmark]
        asked = tuple(sorted(map(str, rows["problem"].unique())))
        grader = tuple(sorted(map(str, rows["grader"].unique())))
        who = (arm.name, arm.index) if arm else (f"{one.subject}, untrained", -1)
        key = (
            *who,
            one.cell if arm is None else "",
            one.step,
            str(one.decoding.get("hash")),
            grader,
            asked,
            one.k[benchmark],
        )
        found.setdefault(key, []).append(one)
    return [_Group(str(key[0]), int(str(key[1])), tuple(members)) for key, members in found.items()]


def _row(benchmark: str, group: _Group) -> tuple[Row, dict[str, object]]:
    first, k = group.members[0], group.members[0].k[benchmark]
    verdicts = np.stack([_verdicts(one, benchmark, k) for one in group.members])
    label = (
        "final",
        benchmark,
        k,
        *(f"{one.cell}/{one.step}/{one.decoding.get('hash')}" for one in group.members),
    )
    avg = bootstrap_accuracy(verdicts, rng_for(*label), n_resamples=TABLE_RESAMPLES)
    pass_k = (
        bootstrap_pass_at_k(verdicts, k, rng_for("pass", *label), n_resamples=TABLE_RESAMPLES)
        if k > 1
        else None
    )
    truncated, tokens = (_mean(group, benchmark, name) for name in ("truncated", "tokens"))
    shown = (
        str(first.step),
        f"{len(group.members)}",
        f"{verdicts.shape[1]} × {k}",
        text.percent(avg),
        text.percent(pass_k) if pass_k else "–",
        "–" if np.isnan(truncated) else f"{100 * truncated:.1f}",
        "–" if np.isnan(tokens) else f"{tokens:.0f}",
        _outcomes(group, benchmark),
        _decoding(first),
    )
    record: dict[str, object] = {
        "model": group.head,
        "step": first.step,
        "seeds": len(group.members),
        "k": k,
        "truncated": truncated,
    }
    record |= {"tokens": tokens, "decoding": first.decoding.get("hash")}
    record |= interval_fields("avg", avg) | interval_fields("pass", pass_k)
    entries = tuple(Entry(words, absent=words == "–") for words in shown)
    return Row(group.head, max(group.index, 0), entries), record


def _verdicts(one: Evaluation, benchmark: str, k: int) -> np.ndarray:
    """(P, k), problems in the order of their names."""
    rows = one.samples[one.samples["benchmark"] == benchmark]
    table = rows.assign(problem=rows["problem"].astype(str)).pivot(
        index="problem", columns="sample", values="correct"
    )
    return table.sort_index().to_numpy(np.float64)[:, :k]


def _mean(group: _Group, benchmark: str, name: str) -> float:
    values = np.concatenate([_column(one, benchmark, name) for one in group.members])
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _column(one: Evaluation, benchmark: str, name: str) -> np.ndarray:
    return one.samples.loc[one.samples["benchmark"] == benchmark, name].to_numpy(np.float64)


def _outcomes(group: _Group, benchmark: str) -> str:
    words = [
        str(outcome)
        for one in group.members
        for outcome in one.samples.loc[one.samples["benchmark"] == benchmark, "outcome"]
    ]
    others = {word: words.count(word) / len(words) for word in sorted(set(words) - {"correct", "wrong"})}
    return (
        ", ".join(f"{word.replace('_', ' ')} {100 * share:.1f} %" for word, share in others.items()) or "none"
    )


def _decoding(one: Evaluation) -> str:
    names = {"temperature": "T", "top_p": "top-p", "top_k": "top-k", "max_length": "tokens ≤", "engine": ""}
    parts = [f"{label} {one.decoding[name]}".strip() for name, label in names.items() if name in one.decoding]
    return ", ".join(parts) or "not recorded"


def notes(own: Sequence[Evaluation]) -> list[tuple[str, tuple[str, ...]]]:
    """What of the evaluations is not shown, by subject."""
    return [(f"{one.subject} (cegppo eval)", one.notes) for one in own if one.notes]

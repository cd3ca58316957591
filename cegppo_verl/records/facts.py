"""What the files of a run prove, read once, with a key that changes whenever one of them does."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cegppo_verl.records import metric_digest
from cegppo_verl.records.metric_digest import Digest
from cegppo_verl.records.progress import Goal
from cegppo_verl.records.rundir import Attempt, Json, RunDir

RECORD = (
    *("outcome", "cause", "cause_kind", "stopped_by_rule", "started", "ended"),
    *("host", "pid", "executor", "job", "submission"),
)

Stamp = list[int] | None
"""Size, modification and change time in ns, inode; None for a file that is not there."""


@dataclass(frozen=True)
class Facts:
    """A cell's record, as far as its state depends on it.

    Attributes:
        why: what is missing; None proves the cell done.
        step: last step up to which everything is logged.
        attempt: number of the newest attempt, 0 before the first.
        record: :data:`RECORD` of that attempt.
        seconds: of all attempts but a newest one that has no outcome yet.
        pace: mean seconds per step of the newest attempt that logged one, evaluations included.
        last: newest numbers by name, see ``metric_digest.shown``.
        logs: digests by attempt number, to go on from while the cell runs.
        partial: some digest was an extended one, so that ``why`` is None proves nothing.
    """

    why: str | None
    step: int = 0
    attempt: int = 0
    record: Json = field(default_factory=dict)
    seconds: float = 0.0
    pace: float | None = None
    last: Mapping[str, float] = field(default_factory=dict)
    logs: Mapping[str, Digest] = field(default_factory=dict)
    partial: bool = False

    def to_json(self) -> list[Any]:
        """Compact; digests only while there is more to come."""
        logs = {} if self.why is None else {name: digest.to_json() for name, digest in self.logs.items()}
        return [
            self.why,
            self.step,
            self.attempt,
            self.record,
            self.seconds,
            self.pace,
            dict(self.last),
            logs,
        ]

    @classmethod
    def from_json(cls, value: list[Any]) -> Facts:
        """What :meth:`to_json` made."""
        why, step, attempt, record, seconds, pace, last, stored = value
        logs = {name: Digest.from_json(digest) for name, digest in stored.items()}
        return cls(why, step, attempt, record, seconds, pace, last, logs)


def read(run: RunDir, goal: Goal, known: Mapping[str, Digest] | None = None) -> Facts:
    """Read the files of ``run``.

    Args:
        known: earlier digests by attempt number, extended instead of read again.
    """
    attempts = run.attempts()
    logs = {
        str(a.number): metric_digest.read(a.metrics_file, (known or {}).get(str(a.number))) for a in attempts
    }
    records = [a.record() for a in attempts]
    trained = _stitched(attempts, records, logs)
    return Facts(
        why=goal.missing(run, trained),
        step=contiguous(trained),
        attempt=attempts[-1].number if attempts else 0,
        record={k: records[-1][k] for k in RECORD if k in records[-1]} if records else {},
        seconds=_seconds(attempts, records),
        pace=_pace(logs),
        last=_last(logs),
        logs=logs,
        partial=any(digest.offset for digest in (known or {}).values()),
    )


def _stitched(attempts: list[Attempt], records: list[Json], logs: Mapping[str, Digest]) -> set[int]:
    """As ``progress.trained_steps``: what a later attempt did not build on does not count."""
    steps: set[int] = set()
    for attempt, record in zip(attempts, records, strict=True):
        resumed_from = record.get("resumed_from")
        if isinstance(resumed_from, int):
            steps = {step for step in steps if step <= resumed_from}
        steps |= logs[str(attempt.number)].trained
    return steps


def contiguous(steps: set[int]) -> int:
    """The last step before the first hole."""
    step = 0
    while step + 1 in steps:
        step += 1
    return step


def _pace(logs: Mapping[str, Digest]) -> float | None:
    timed = [digest for digest in logs.values() if digest.timed]
    return timed[-1].seconds / timed[-1].timed if timed else None


def _last(logs: Mapping[str, Digest]) -> dict[str, float]:
    found: dict[str, float] = {}
    for digest in logs.values():
        found |= digest.last
    return found


def _seconds(attempts: list[Attempt], records: list[Json]) -> float:
    pairs = list(zip(attempts, records, strict=True))
    if pairs and "outcome" not in pairs[-1][1]:
        pairs.pop()
    return sum(seconds_of(attempt, record) for attempt, record in pairs)


def seconds_of(attempt: Attempt, record: Json) -> float:
    """How long an attempt took; 0 when it never began.

    One that was killed did not say: it lasted to its last sign of life. (Its recorded end is when a runner
    noticed, which may be days later.)
    """
    known, started = record.get("seconds"), moment(record.get("started"))
    if isinstance(known, int | float) and known >= 0:
        return float(known)
    if started is None or "host" not in record:
        return 0.0
    ended = moment(record.get("ended"))
    last = last_sign(attempt)
    return max(0.0, (last if ended is None else min(last, ended)) - started)


def last_sign(attempt: Attempt) -> float:
    """When an attempt last wrote something, seconds since the epoch; 0 when it never did."""
    files = (attempt.alive_file, attempt.metrics_file, attempt.log_file)
    return max((s[1] / 1e9 for f in files if (s := stamp(str(f))) is not None), default=0.0)


def moment(text: Any) -> float | None:
    """An ISO time as seconds since the epoch; None when it is none."""
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def stamp(path: str) -> Stamp:
    """The state of a file by which a change is noticed."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]


def sources(path: str, goal: Goal, attempts: int) -> list[Stamp]:
    """Stamps of everything that :func:`read` looks at, for a run of ``attempts`` attempts.

    The attempts' folder comes first: it changes when an attempt is added.
    """
    base = f"{path}/attempts"
    stamps = [stamp(base)]
    if goal.evaluation is not None:
        stamps.append(stamp(f"{path}/validation/{goal.evaluation}.jsonl"))
    for number in range(1, attempts + 1):
        folder = f"{base}/{number:03d}"
        stamps += [stamp(f"{folder}/metrics.jsonl"), stamp(f"{folder}/attempt.json")]
    return stamps

"""What a status needs of a metric log: which steps it trained, its pace, the last numbers worth showing.

A digest can be extended by the lines that came after it, so that looking at a running cell again costs what
it has written since, not what it has written at all.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cegppo_verl.records.progress import LoggedStep, is_training_step, parse_line

ACCURACY, ENTROPY, SCORE = "accuracy", "entropy", "train_score"
# Shown as they are; verl 0.9.1 logs them with every step.
_KEPT = {
    "actor/entropy": ENTROPY,
    "critic/score/mean": SCORE,
    "actor/perf/max_memory_allocated_gb": "memory_gb",
    "perf/max_memory_allocated_gb": "memory_gb",
    "perf/mfu/actor": "mfu",
    "perf/throughput": "tokens_per_second",
}


def number(value: Any) -> float | None:
    """A logged value as a float; NaN when it was not finite (verl writes null); None when it is no number."""
    if value is None:
        return math.nan
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def validation_accuracy(data: Mapping[str, Any]) -> float | None:
    """Mean of verl's ``val-core/<benchmark>/…/mean@k`` values in a logged line."""
    found = [number(v) for k, v in data.items() if k.startswith("val-core/") and "/acc/mean@" in k]
    values = [v for v in found if v is not None]
    return sum(values) / len(values) if values else None


def step_seconds(data: Mapping[str, Any]) -> float:
    """Seconds that a step and its evaluation took; what is not logged counts as 0."""
    parts = [number(data.get(key, 0.0)) for key in ("timing_s/step", "timing_s/testing")]
    return sum(p for p in parts if p is not None and math.isfinite(p))


def shown(data: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a logged line that a person wants to see, by the names of this module."""
    found = {name: number(data[key]) for key, name in _KEPT.items() if key in data}
    found[ACCURACY] = validation_accuracy(data)
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Digest:
    """A metric log up to ``offset``.

    Attributes:
        offset: bytes taken in; always the end of a line, or of a last line that needs no end.
        trained: steps with training metrics.
        timed, seconds: training lines and how long they took together, evaluations included.
        last: newest value by name, see :func:`shown`.
    """

    offset: int = 0
    trained: frozenset[int] = frozenset()
    timed: int = 0
    seconds: float = 0.0
    last: Mapping[str, float] = field(default_factory=dict)

    def extended(self, data: bytes) -> Digest:
        """With the bytes after ``offset``."""
        end = data.rfind(b"\n") + 1
        lines = [parse_line(line) for line in data[:end].split(b"\n")]
        if (tail := parse_line(data[end:])) is not None:
            end = len(data)
            lines.append(tail)
        return self._with([line for line in lines if line is not None], self.offset + end)

    def _with(self, lines: Iterable[LoggedStep], offset: int) -> Digest:
        trained, timed, seconds, last = set(self.trained), self.timed, self.seconds, dict(self.last)
        for line in lines:
            last |= shown(line.data)
            if is_training_step(line):
                trained.add(line.step)
                timed += 1
                seconds += step_seconds(line.data)
        return Digest(offset, frozenset(trained), timed, seconds, last)

    def to_json(self) -> list[Any]:
        """Compact, with the steps as ranges."""
        return [self.offset, ranges(self.trained), self.timed, self.seconds, dict(self.last)]

    @classmethod
    def from_json(cls, value: list[Any]) -> Digest:
        """What :meth:`to_json` made."""
        offset, pairs, timed, seconds, last = value
        trained = frozenset(step for first, end in pairs for step in range(first, end + 1))
        return cls(offset, trained, timed, seconds, last)


def ranges(steps: Iterable[int]) -> list[list[int]]:
    """``{1, 2, 3, 7}`` as ``[[1, 3], [7, 7]]``."""
    pairs: list[list[int]] = []
    for step in sorted(steps):
        if pairs and pairs[-1][1] == step - 1:
            pairs[-1][1] = step
        else:
            pairs.append([step, step])
    return pairs


def read(file: Path, known: Digest | None = None) -> Digest:
    """The digest of ``file``; an absent file is an empty one.

    Args:
        known: an earlier digest, extended when the file has not shrunk since. Good enough to show a running
            cell; whether one is done is decided by a digest of the whole file.
    """
    start = known or Digest()
    try:
        with file.open("rb") as log:
            if os.fstat(log.fileno()).st_size < start.offset:
                start = Digest()
            log.seek(start.offset)
            return start.extended(log.read())
    except OSError:
        return Digest()

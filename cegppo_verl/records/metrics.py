"""Metrics of a run, stitched over its attempts.

verl's FileLogger writes one line per step, ``{"step": n, "data": {key: number}}``, and empties its file when
it starts; hence one file per attempt, and stitching here. Per step the newest attempt that *trained* it wins.
A line that holds nothing but validation keys (verl validates once before training, also after a resume, and
logs that under the step it resumed from) replaces those keys only: the step's training numbers stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cegppo_verl.records import columns
from cegppo_verl.records.derived import load_or_build, read_sources
from cegppo_verl.records.series import VALIDATION_PREFIX, Series

COLUMNS = ("step", "key", "value", "attempt")
_MAX_STEP = 2**31


@dataclass(frozen=True)
class Metrics:
    """A run's numbers.

    Attributes:
        frame: tidy, columns step (int), key (categorical), value (float; NaN = logged but not finite),
            attempt (int); sorted by step, then key; one row per (step, key).
        notes: what was ignored, or reads oddly, one sentence each.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()

    @cached_property
    def _series(self) -> Series:
        """The numbers by key."""
        keys = self.frame["key"].astype("category").cat
        steps, values = (self.frame[name].to_numpy() for name in ("step", "value"))
        return Series.of(keys.codes.to_numpy(), list(map(str, keys.categories)), steps, values)

    @property
    def last_step(self) -> int | None:
        """The last step that was trained (not merely validated), None when there is none."""
        return self._series.last_step

    def keys(self) -> list[str]:
        """All keys that occur, sorted."""
        return self._series.keys()

    def series(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps (T,) int, ascending, and values (T,) float of one key; empty when it was never logged."""
        return self._series.series(key)


def attempt_files(run_dir: Path) -> dict[int, Path]:
    """attempts/<number>/metrics.jsonl by number, oldest first; attempts without the file are left out."""
    folders = run_dir.glob("attempts/*/metrics.jsonl")
    numbered = {int(path.parent.name): path for path in folders if path.parent.name.isdecimal()}
    return dict(sorted(numbered.items()))


def load_metrics(run_dir: Path) -> Metrics:
    """Stitch a run directory's metrics, kept in metrics.parquet. An empty run gives an empty frame."""
    table, notes = _load(run_dir, COLUMNS)
    return Metrics(table.to_pandas(), tuple(notes))


def load_series(run_dir: Path) -> tuple[Series, tuple[str, ...]]:
    """As ``load_metrics``, the numbers alone, with the notes."""
    table, notes = _load(run_dir, COLUMNS[:3])
    keys, names = columns.codes(table, "key")
    steps, values = columns.numbers(table, "step", np.int64), columns.numbers(table, "value", np.float64)
    return Series.of(keys, names, steps, values), tuple(notes)


def _load(run_dir: Path, wanted: Sequence[str]) -> tuple[pa.Table, list[str]]:
    sources = read_sources({str(number): path for number, path in attempt_files(run_dir).items()})
    table, notes = load_or_build(run_dir / "metrics.parquet", sources, _build, columns=wanted)
    whole, holes = columns.filled(table, ("step", "key"))
    return whole, [*notes, *holes]


def _build(sources: Mapping[str, bytes]) -> tuple[pd.DataFrame, list[str]]:
    steps: dict[int, list[_Line]] = {}
    notes: list[str] = []
    for name, data in sorted(sources.items(), key=lambda item: int(item[0])):
        counts = {"truncated": 0, "garbled": 0}
        for line in _lines(int(name), data, counts):
            _place(steps, line)
        notes += _notes(int(name), counts)
    return _frame(steps), notes + _odd_tail(steps)


@dataclass(frozen=True)
class _Line:
    attempt: int
    step: int
    data: dict[str, float | None]

    @property
    def validation_only(self) -> bool:
        return all(key.startswith(VALIDATION_PREFIX) for key in self.data)


def _lines(attempt: int, data: bytes, counts: dict[str, int]) -> Iterator[_Line]:
    raw = data.split(b"\n")
    for index, text in enumerate(raw):
        if not text.strip():
            continue
        line = _parse(attempt, text)
        if line is not None:
            yield line
        else:  # bytes after the last newline: the process died while writing
            counts["truncated" if index == len(raw) - 1 else "garbled"] += 1


def _parse(attempt: int, text: bytes) -> _Line | None:
    try:
        entry = json.loads(text)
        step, data = entry["step"], entry["data"]
        if type(step) is not int or not 0 <= step < _MAX_STEP or type(data) is not dict:
            return None
        return _Line(attempt, step, _numbers(data))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _numbers(data: dict) -> dict[str, float | None]:
    if set(map(type, data.values())) == {float}:  # the common case, at C speed
        return data
    # verl's writer (orjson) turns NaN and infinities into null: logged, but not finite.
    return {
        k: None if v is None else float(v) for k, v in data.items() if v is None or isinstance(v, int | float)
    }


def _place(steps: dict[int, list[_Line]], line: _Line) -> None:
    earlier = steps.get(line.step, [])
    if not line.validation_only:
        earlier = [other for other in earlier if other.attempt == line.attempt]
    steps[line.step] = [*earlier, line]


def _merge(lines: list[_Line]) -> tuple[list[str], list[float | None], list[int]]:
    if len(lines) == 1:
        data = lines[0].data
        return list(data), list(data.values()), [lines[0].attempt] * len(data)
    merged = {key: (value, line.attempt) for line in lines for key, value in line.data.items()}
    return list(merged), [value for value, _ in merged.values()], [attempt for _, attempt in merged.values()]


def _frame(steps: dict[int, list[_Line]]) -> pd.DataFrame:
    keys: list[str] = []
    values: list[float | None] = []
    attempts: list[int] = []
    counts: list[int] = []
    for step in sorted(steps):
        step_keys, step_values, step_attempts = _merge(steps[step])
        keys += step_keys
        values += step_values
        attempts += step_attempts
        counts.append(len(step_keys))
    categories = sorted(set(keys))
    position = {key: code for code, key in enumerate(categories)}
    codes = np.fromiter(map(position.__getitem__, keys), np.int32, len(keys))
    step_column = np.repeat(np.array(sorted(steps), np.int64), np.array(counts, np.int64))
    order = np.lexsort((codes, step_column))
    return pd.DataFrame(
        {
            "step": step_column[order],
            "key": pd.Categorical.from_codes(codes[order], pd.Index(categories, dtype="str")),
            "value": np.array(values, np.float64)[order],
            "attempt": np.array(attempts, np.int64)[order],
        }
    )


def _notes(attempt: int, counts: dict[str, int]) -> list[str]:
    name = f"attempts/{attempt:03d}/metrics.jsonl"
    return [
        f"{name}: {count} {kind} line{'s' * (count > 1)} ignored" for kind, count in counts.items() if count
    ]


def _odd_tail(steps: dict[int, list[_Line]]) -> list[str]:
    """Steps of an older attempt beyond the newest one's last step: not yet retrained after a resume."""
    trained = {step: lines[-1].attempt for step, lines in steps.items() if not lines[-1].validation_only}
    newest = max(trained.values(), default=0)
    reached = max((step for step, attempt in trained.items() if attempt == newest), default=0)
    tail = [step for step in trained if step > reached]
    if not tail:
        return []
    return [
        f"steps {min(tail)} to {max(tail)} come from an older attempt; attempt {newest} has reached {reached}"
    ]

"""Validation samples of a run: one row per (cell, seed, step, benchmark, problem, sample).

verl dumps ``validation/<step>.jsonl``, one line per sample, with what ``compute_score`` returned. Rows are
grouped by ``problem_id``; a dump without one (others' files) is grouped by the prompt's text. Besides the
verdict it may carry ``response_tokens`` (or ``tokens``), ``truncated`` and ``decoding``; what is absent is
unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cegppo_verl.records import columns
from cegppo_verl.records.decoding import of_cell
from cegppo_verl.records.derived import load_or_build, read_sources, sha256
from cegppo_verl.records.rundir import read_json
from cegppo_verl.records.schema import FILLED, FRAME, SCHEMA, names

_IDENTITY = "identity"
_NO_ROWS = np.array([], np.int64)


@dataclass(frozen=True)
class Samples:
    """A run's graded samples.

    Attributes:
        table: columns as ``records/schema.py`` has them.
        notes: what was ignored, one sentence each.
    """

    table: pa.Table
    notes: tuple[str, ...] = ()

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Columns cell (id), seed, step, benchmark, problem, sample (0, 1, … within the problem, in file
        order), correct (1.0, 0.0, NaN = not graded), outcome ("correct", "wrong", "no_answer", "timeout",
        "grader_error", "unknown"), extracted, length (characters of the response), tokens, truncated,
        grader, decoding.
        """
        frame = self.table.to_pandas()
        other = {str(name): FRAME[str(name)] for name in frame if frame[name].dtype != FRAME[str(name)]}
        return frame.astype(other)

    def steps(self) -> list[int]:
        """Steps that have samples, ascending."""
        return sorted({step for step, _ in self._rows})

    def at(self, step: int, benchmark: str) -> pd.DataFrame:
        """The rows of one evaluation of one benchmark."""
        return self.frame.take(self.rows(step, benchmark))

    def benchmarks(self) -> list[str]:
        """Those that have samples, sorted."""
        return sorted({name for _, name in self._rows})

    def rows(self, step: int, benchmark: str) -> np.ndarray:
        """Positions of the rows of one evaluation of one benchmark."""
        return self._rows.get((step, benchmark), _NO_ROWS)

    @cached_property
    def _rows(self) -> dict[tuple[int, str], np.ndarray]:
        """Of every evaluation, found once."""
        steps, (places, benchmarks) = self.numbers("step"), self.names("benchmark")
        found: dict[tuple[int, str], np.ndarray] = {}
        for step in np.unique(steps):
            rows = np.flatnonzero(steps == step)
            for place in np.unique(places[rows]):
                if place >= 0:
                    found[int(step), benchmarks[place]] = rows[places[rows] == place]
        return found

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers (rows,), floats where they may be missing."""
        return columns.numbers(self.table, name, np.dtype(FRAME[name]).type)

    def names(self, name: str) -> tuple[np.ndarray, list[str]]:
        """A column of names: each row's place among the distinct ones (rows,), −1 for null, and those."""
        return columns.codes(self.table, name)


def validation_files(run_dir: Path) -> dict[int, Path]:
    """validation/<step>.jsonl by step, ascending."""
    files = {int(path.stem): path for path in run_dir.glob("validation/*.jsonl") if path.stem.isdecimal()}
    return dict(sorted((step, path) for step, path in files.items() if step < 2**31))


def load_samples(
    run_dir: Path, *, cell_id: str = "", seed: int = 0, wanted: Sequence[str] | None = None
) -> Samples:
    """Read a run directory's samples; keeps the result in samples.parquet. No samples give an empty table.

    Args:
        wanted: columns of the table; None has all.
    """
    sources = read_sources({str(step): path for step, path in validation_files(run_dir).items()})
    decoding = of_cell(read_json(run_dir / "cell.json") or {})
    if sources:  # a table made for a caller that named neither cell nor seed is stale
        sources[_IDENTITY] = f"{cell_id} {seed} {decoding}".encode("utf-8", "replace")
    build = partial(_build, cell_id, seed, decoding)
    wanted = names() if wanted is None else wanted
    table, notes = load_or_build(run_dir / "samples.parquet", sources, build, SCHEMA, wanted)
    whole, holes = columns.filled(table, FILLED)
    return Samples(whole, (*notes, *holes))


def read_texts(run_dir: Path, step: int) -> list[dict[str, Any]]:
    """Raw dump lines of one step, prompts and responses included; unreadable lines are left out.

    Each gets the ``benchmark`` and ``problem_id`` under which ``load_samples`` files it.
    """
    path = validation_files(run_dir).get(step)
    if path is None:
        return []
    rows, _ = _parse(path.read_bytes())
    return [{**row, "benchmark": _benchmark(row), "problem_id": _problem(row)} for row in rows]


def completeness(samples: Samples, step: int, benchmarks: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is missing from one evaluation, one sentence per benchmark; empty when it is complete.

    Args:
        samples: the run's samples.
        step: the evaluation to look at.
        benchmarks: the planned ones, each {"name": str, "samples": int, "problems": int | None}; with
            ``problems`` None only the number of samples per problem is checked.
    """
    problems, _ = samples.names("problem")
    gaps = [_gap(problems[samples.rows(step, plan["name"])], plan) for plan in benchmarks]
    return [f"step {step}: {gap}" for gap in gaps if gap]


def _gap(problems: np.ndarray, plan: Mapping[str, Any]) -> str | None:
    per_problem = np.bincount(problems[problems >= 0])
    per_problem = per_problem[per_problem > 0]
    short = int((per_problem < plan["samples"]).sum())
    if not len(per_problem):
        return f"{plan['name']}: no samples"
    if plan.get("problems") and len(per_problem) < plan["problems"]:
        return f"{plan['name']}: {len(per_problem)} of {plan['problems']} problems"
    if short:
        return f"{plan['name']}: {short} problem{'s' * (short > 1)} with fewer than {plan['samples']} samples"
    return None


def _build(
    cell_id: str, seed: int, decoding: str, sources: Mapping[str, bytes]
) -> tuple[pd.DataFrame, list[str]]:
    records: list[tuple] = []
    notes: list[str] = []
    dumps = {int(name): data for name, data in sources.items() if name != _IDENTITY}
    for step, data in sorted(dumps.items()):
        rows, bad = _parse(data)
        if bad:
            notes.append(f"validation/{step}.jsonl: {bad} unreadable line{'s' * (bad > 1)} ignored")
        seen: dict[tuple[str, str], int] = {}
        records += [(cell_id, seed, step, *_record(row, seen, decoding)) for row in rows]
    frame = pd.DataFrame(records, columns=names()).astype(FRAME)
    ungraded = int(frame["correct"].isna().sum())
    return frame, notes + ([f"{ungraded} samples carry no verdict"] if ungraded else [])


def _parse(data: bytes) -> tuple[list[dict[str, Any]], int]:
    rows, bad = [], 0
    for text in data.split(b"\n"):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and ("problem_id" in row or "input" in row):
            rows.append(row)
        else:
            bad += 1
    return rows, bad


def _record(row: dict[str, Any], seen: dict[tuple[str, str], int], decoding: str) -> tuple:
    """The columns after ``step``, in the schema's order."""
    benchmark, problem = _benchmark(row), _problem(row)
    sample = seen.get((benchmark, problem), 0)
    seen[benchmark, problem] = sample + 1
    return (
        benchmark,
        problem,
        sample,
        _correct(row),
        _text(row.get("outcome")) or "unknown",
        _text(row.get("extracted")),
        len(_text(row.get("output"))),
        _count(row.get("response_tokens", row.get("tokens"))),
        _flag(row.get("truncated")),
        _text(row.get("grader")) or "unknown",
        _text(row.get("decoding")) or decoding,
    )


def _count(value: object) -> float:
    known = isinstance(value, int | float) and 0 <= value < 2**31  # NaN is not
    return float(int(value)) if known and isinstance(value, int | float) else float("nan")


def _flag(value: object) -> float:
    return float(value) if isinstance(value, bool | int | float) and value in (0, 1) else float("nan")


def _text(value: object) -> str:
    # A lone surrogate is legal in JSON and cannot be stored as UTF-8.
    return "" if value is None else str(value).encode("utf-8", "replace").decode("utf-8")


def _problem(row: Mapping[str, Any]) -> str:
    if row.get("problem_id") is not None:
        return _text(row["problem_id"])
    return f"prompt-{sha256(_text(row['input']).encode())[:12]}"


def _benchmark(row: Mapping[str, Any]) -> str:
    named = row.get("benchmark") or row.get("data_source")
    if named:
        return _text(named)
    problem = _text(row.get("problem_id"))
    return problem.rsplit("/", 1)[0] if "/" in problem else "unknown"


def _correct(row: Mapping[str, Any]) -> float:
    """1.0, 0.0 or NaN: ``acc``, else ``outcome``; never a number where no verdict was recorded."""
    accuracy = _flag(row.get("acc"))
    if accuracy in (0, 1):
        return accuracy
    verdicts = {"correct": 1.0, "wrong": 0.0, "no_answer": 0.0, "timeout": 0.0}
    return verdicts.get(_text(row.get("outcome")), float("nan"))

"""Final evaluations (``cegppo eval``) for those who show them: only benchmarks that have every answer.

    <root>/<subject>/step-<N>-<decoding>/    samples.jsonl, samples.parquet, manifest.json, complete.json

``samples`` may hold parts of evaluations that were cut short, or answers to wordings that have since changed.
``complete.json`` names what is whole: per benchmark its problems, with a digest of what was asked, and k.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cegppo_verl.errors import UserError
from cegppo_verl.records import atomic, table
from cegppo_verl.records.derived import sha256
from cegppo_verl.records.rundir import Json, RunDir, read_json
from cegppo_verl.records.schema import FRAME, names

ROOT = Path("results/evaluations")
LINES = "samples.jsonl"
COMPLETE = "complete.json"
_RECORDS = ("manifest.json", COMPLETE, LINES)  # the table is made from these


@dataclass(frozen=True)
class Whole:
    """A benchmark of which every answer is recorded: ``samples`` (k) to each problem.

    Attributes:
        asked: by problem, a digest of prompt, truth and extraction rule.
    """

    samples: int
    asked: Mapping[str, str]

    @property
    def size(self) -> int:
        """Answers."""
        return self.samples * len(self.asked)

    def agrees_with(self, asked: Mapping[str, str]) -> bool:
        """Whether the problems that both have are asked alike."""
        return all(self.asked[name] == asked[name] for name in self.asked.keys() & asked.keys())


def read_complete(folder: Path) -> dict[str, Whole]:
    """What is whole, by benchmark; nothing when the file is missing or damaged."""
    found = (read_json(folder / COMPLETE) or {}).get("benchmarks")
    try:
        return {name: Whole(int(one["samples"]), dict(one["asked"])) for name, one in (found or {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def write_complete(folder: Path, benchmarks: Mapping[str, Whole]) -> None:
    """Replace what is stated as whole, atomically."""
    stated = {n: {"samples": one.samples, "asked": dict(one.asked)} for n, one in sorted(benchmarks.items())}
    atomic.write_json(folder / COMPLETE, {"schema": 1, "benchmarks": stated})


@dataclass(frozen=True)
class Evaluation:
    """One model under one decoding.

    Attributes:
        subject: for people. kind: "cell", "base" (a scale's model before training), "checkpoint" or "model".
        cell: the cell's id, else an identity of the weights. seed: of training. step: training steps before.
        scale: its name. decoding: temperature, top_p, top_k, max_length (tokens), engine, hash.
        samples: columns and types of ``records/schema.py``; per benchmark every problem with k samples.
        k: samples per problem, by benchmark.
        records: SHA-256 of the files, by name.
        notes: what is there and not shown, one sentence each.
    """

    folder: Path
    subject: str
    kind: str
    cell: str
    seed: int
    step: int
    scale: str
    decoding: Mapping[str, Any]
    samples: pd.DataFrame
    k: Mapping[str, int]
    records: Mapping[str, str]
    notes: tuple[str, ...] = ()


def load_evaluations(root: Path = ROOT) -> list[Evaluation]:
    """Every evaluation below ``root``, in the order of the folders' names; damage becomes a note."""
    return [_evaluation(file.parent) for file in sorted(root.glob("*/step-*/manifest.json"))]


def _evaluation(folder: Path) -> Evaluation:
    manifest = RunDir(folder).manifest()
    who: Json = {"name": folder.parent.name, "kind": "model", "cell": "", "seed": 0, "step": 0}
    who |= manifest.get("subject") or {}
    frame, k, notes = _whole_benchmarks(folder)
    hashes = {n: sha256((folder / n).read_bytes()) for n in _RECORDS if (folder / n).is_file()}
    decoding = manifest.get("decoding") or {}
    return Evaluation(
        folder,
        str(who["name"]),
        str(who["kind"]),
        str(who["cell"]),
        int(who["seed"]),
        int(who["step"]),
        str(manifest.get("scale", "")),
        decoding if isinstance(decoding, dict) else {},
        frame,
        k,
        hashes,
        tuple(notes),
    )


def _whole_benchmarks(folder: Path) -> tuple[pd.DataFrame, dict[str, int], list[str]]:
    """The rows of all whole benchmarks, their k, and why others are left out."""
    empty = pd.DataFrame(columns=names()).astype(FRAME)
    stated = read_complete(folder)
    if not stated:
        return empty, {}, ["no benchmark is complete"]
    try:
        recorded = _recorded(folder)
    except UserError as error:
        return empty, {}, [str(error)]
    parts, k, notes = [], {}, []
    for name, whole in stated.items():
        rows = _rows(recorded, name, whole)
        problem = _problem(rows, whole)
        if problem:
            notes.append(f"{name}: {problem}")
        else:
            parts.append(rows)
            k[name] = whole.samples
    return (pd.concat(parts, ignore_index=True).astype(FRAME) if parts else empty), k, notes


def _recorded(folder: Path) -> pd.DataFrame:
    """Every row, from the table, or where there is none (a clone has no derived files) from the lines."""
    if (folder / table.NAME).is_file():
        return table.load(folder / table.NAME)
    try:
        rows = [json.loads(line) for line in (folder / LINES).read_bytes().splitlines() if line]
        return pd.DataFrame([[row[name] for name in names()] for row in rows], columns=names()).astype(FRAME)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"not readable: {error!r}", file=folder / LINES) from None


def _rows(recorded: pd.DataFrame, benchmark: str, whole: Whole) -> pd.DataFrame:
    own = recorded["benchmark"].eq(benchmark) & recorded["sample"].lt(whole.samples)
    return recorded[own & recorded["problem"].isin(list(whole.asked))]


def _problem(rows: pd.DataFrame, whole: Whole) -> str | None:
    """Why these rows cannot stand in a table."""
    there = len(rows.drop_duplicates(["problem", "sample"]))
    if there != whole.size or there != len(rows):
        return f"{len(rows)} answers recorded, {whole.size} stated as complete"
    graders = sorted(map(str, rows["grader"].unique()))
    return f"graded by {' and '.join(graders)}: evaluate it again" if len(graders) > 1 else None

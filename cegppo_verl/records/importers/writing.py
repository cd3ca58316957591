"""Where imported runs lie, and how they get there: whole, or not at all.

``<results>/imported/<grid>/<arm>__<scale>__seed<N>-<id>/`` is a run directory like ours, read by the same
readers, with ``"state": "imported"`` in ``cell.json`` and ``manifest.json``, a cell id that begins with
``imported-``, and the sources under ``imports``. Several imports (metrics of one tool, samples of another,
one file per checkpoint) may make up one run, as long as none brings an evaluation that is there already.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import cegppo_verl
from cegppo_verl.errors import UserError
from cegppo_verl.records import atomic, samples
from cegppo_verl.records.importers.found import Found, Row
from cegppo_verl.records.rundir import RunDir, read_json
from cegppo_verl.records.status import Status

IMPORTED = "imported"
FOLDER = "imported"
_NAME = re.compile(r"(?=.{1,64}\Z)[a-z0-9]+(?:[-_.][a-z0-9]+)*")  # as names in grids


@dataclass(frozen=True)
class Target:
    """As what a foreign run shall stand in tables: grid, arm, scale, training seed."""

    grid: str
    arm: str
    seed: int
    scale: str = "foreign"

    @classmethod
    def parse(cls, place: str, seed: int, scale: str = "foreign") -> Target:
        """From ``GRID/ARM``.

        Raises:
            UserError: not two names, or a seed below 0.
        """
        grid, _, arm = place.partition("/")
        for name in (grid, arm, scale):
            if not _NAME.fullmatch(name):
                hint = "write GRID/ARM: small letters and digits, joined by single - _ or ."
                raise UserError(f"'{name}' is no name", hint=hint)
        if not 0 <= seed < 2**31:
            raise UserError(f"{seed} is no seed", hint="a whole number, 0 or more")
        return cls(grid, arm, seed, scale)

    @property
    def digest(self) -> str:
        """12 hex digits over all four."""
        text = json.dumps([IMPORTED, self.grid, self.arm, self.scale, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def cell_id(self) -> str:
        """Never that of a cell of ours, which is twelve hex digits."""
        return f"{IMPORTED}-{self.digest}"

    def folder(self, results: Path) -> Path:
        """The run directory."""
        slug = f"{self.arm}__{self.scale}__seed{self.seed}"
        return results / FOLDER / self.grid / f"{slug}-{self.digest}"


def store(found: Found, source: dict[str, Any], target: Target, results: Path) -> Path:
    """Write what was found; returns the run directory.

    Args:
        source: kind, name, sha256, files, version of the importer.

    Raises:
        UserError: this source was imported here before, or one of its evaluations is there already.
        OSError: the disk is full or read-only; what was there is unchanged.
    """
    place = target.folder(results)
    if _aside(place).is_dir() and not place.exists():  # killed in the middle of the exchange
        _aside(place).rename(place)
    known = read_json(place / "manifest.json") or {}
    if any(one.get("sha256") == source["sha256"] for one in known.get("imports", [])):
        raise UserError("this source is imported already", file=place, hint="remove the folder to redo it")
    place.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.", suffix=".tmp"))
    try:
        if place.is_dir():
            shutil.copytree(place, staged, dirs_exist_ok=True)
        _add(found, source, target, staged)
        _swap(staged, place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return place


def _add(found: Found, source: dict[str, Any], target: Target, folder: Path) -> None:
    run = RunDir(folder)
    run.validation.mkdir(exist_ok=True)
    for step, rows in found.samples.items():
        _add_samples(run.validation / f"{step}.jsonl", rows)
    if found.metrics:
        lines = ({"step": step, "data": _finite(found.metrics[step])} for step in sorted(found.metrics))
        atomic.write_text(run.new_attempt().metrics_file, _lines(lines))
    imports = [*run.manifest().get("imports", []), {**source, "notes": found.notes, "imported": _now()}]
    stated = {"schema": 1, "state": IMPORTED, "cell": target.cell_id, "imports": imports}
    atomic.write_json(run.manifest_file, {**stated, "importer": cegppo_verl.__version__})
    frame = samples.load_samples(folder, cell_id=target.cell_id, seed=target.seed).frame
    atomic.write_json(run.cell_file, _cell(target, run, frame))


def _add_samples(file: Path, rows: list[Row]) -> None:
    before = file.read_text() if file.is_file() else ""
    there = {json.loads(line).get("benchmark") for line in before.splitlines()}
    twice = sorted({str(row.get("benchmark")) for row in rows} & {str(name) for name in there})
    if twice:
        hint = "import it under another arm or seed"
        raise UserError(f"step {file.stem} of {', '.join(twice)} is there already", hint=hint)
    atomic.write_text(file, before + _lines(iter(rows)))


def _lines(values: Iterator[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """As verl writes them: what is not finite is null."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _cell(target: Target, run: RunDir, frame: pd.DataFrame) -> dict[str, Any]:
    steps = [int(file.stem) for file in run.validation.glob("*.jsonl")]
    for attempt in run.attempts():
        steps += [json.loads(line)["step"] for line in attempt.metrics_file.read_text().splitlines()]
    return {
        "schema": 1,
        "state": IMPORTED,
        "grid": target.grid,
        "arm": target.arm,
        "scale": target.scale,
        "seed": target.seed,
        "settings": {"total_steps": max(steps, default=0), "eval": {"benchmarks": _benchmarks(frame)}},
        "id": target.cell_id,
        "slug": f"{target.arm}__{target.scale}__seed{target.seed}",
    }


def _benchmarks(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """As a cell plans them: k is the fewest samples of a problem; with fewer problems a step has gaps."""
    counts = frame.groupby(["benchmark", "step", "problem"], observed=True).size()
    fewest = counts.groupby(level="benchmark", observed=True).min()
    problems = counts.groupby(level=["benchmark", "step"], observed=True).size()
    most = problems.groupby(level="benchmark", observed=True).max()
    return [{"name": str(n), "samples": int(fewest[n]), "problems": int(most[n])} for n in sorted(most.index)]


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")


def _swap(staged: Path, place: Path) -> None:
    if not place.is_dir():
        staged.chmod(0o755)
        staged.rename(place)
        return
    aside = _aside(place)
    shutil.rmtree(aside, ignore_errors=True)
    staged.chmod(0o755)
    place.rename(aside)
    staged.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def is_imported(cell: dict[str, Any] | None) -> bool:
    """Whether a ``cell.json`` is that of an imported run."""
    return bool(cell) and cell is not None and cell.get("state") == IMPORTED


def imported_runs(results: Path, grid: str) -> list[tuple[Path, dict[str, Any], Status]]:
    """Imported runs of a grid: run directory, cell, and a status whose state is "imported"; sorted."""
    runs = []
    for folder in sorted((results / FOLDER / grid).glob("[!.]*__*__seed*")):
        cell = read_json(folder / "cell.json")
        if cell is not None and is_imported(cell):
            steps = int(cell.get("settings", {}).get("total_steps", 0))
            runs.append((folder, cell, Status(IMPORTED, steps, steps)))
    return runs

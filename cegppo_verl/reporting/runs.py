"""A run as a report sees it: its cell, provenance, state and numbers, whatever of them is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cegppo_verl.records import status as states
from cegppo_verl.records.anatomy import anatomy
from cegppo_verl.records.derived import sha256
from cegppo_verl.records.importers.writing import IMPORTED
from cegppo_verl.records.metrics import attempt_files, load_series
from cegppo_verl.records.rundir import read_json
from cegppo_verl.records.samples import load_samples, validation_files
from cegppo_verl.records.series import Series
from cegppo_verl.records.status import Status
from cegppo_verl.reporting import parallel
from cegppo_verl.reporting.evaluated import Evaluated, absent, evaluations

MANY = 64  # runs that are read on all cores
_USED = ("step", "benchmark", "problem", "sample", "correct", "outcome", "grader")


@dataclass(frozen=True)
class RunView:
    """One training run.

    Attributes:
        run_dir: where its records lie; need not exist.
        cell: the resolved cell; empty when nobody knows it.
        manifest: provenance; empty when there is none.
        status: state derived from the files.
        metrics: stitched numbers by key.
        evaluations: during training, by step and benchmark, those that have samples.
        records: SHA-256 of every record file, by path inside the run directory.
        notes: what is damaged or missing, one sentence each.
    """

    run_dir: Path
    cell: dict[str, Any]
    manifest: dict[str, Any]
    status: Status
    metrics: Series
    evaluations: dict[tuple[int, str], Evaluated]
    records: dict[str, str]
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, run_dir: Path, status: Status, *, cell: Mapping[str, Any] | None = None) -> RunView:
        """Read what is there; damage becomes a note, never an exception.

        Args:
            status: from ``records.status.status_of``.
            cell: the planned cell, used when the directory has no readable cell.json (a run not yet begun);
                it also names the arm, as a run that two grids share bears the name its first grid gave it.
        """
        kept = read_json(run_dir / "cell.json")
        resolved = {**(kept or cell or {}), **({"arm": cell["arm"]} if cell and "arm" in cell else {})}
        if status.state == IMPORTED:  # never one arm with runs of ours, whatever it is called
            resolved["arm"] = f"{resolved.get('arm', run_dir.name)}, imported"
        metrics, odd = load_series(run_dir)
        identity = str(resolved.get("id", ""))
        samples = load_samples(run_dir, cell_id=identity, seed=_seed(resolved), wanted=_USED)
        found = evaluations(samples, {plan["name"]: plan for plan in _planned(resolved)})
        notes = (*_file_notes(run_dir, status), *odd, *samples.notes)
        manifest = read_json(run_dir / "manifest.json") or {}
        return cls(run_dir, resolved, manifest, status, metrics, found, _hashes(run_dir), notes)

    @property
    def arm(self) -> str:
        """Name of the arm; the directory's name tells when the cell does not."""
        return str(self.cell.get("arm") or self._slug()[0])

    @property
    def scale(self) -> str:
        """Name of the scale."""
        return str(self.cell.get("scale") or self._slug()[1])

    @property
    def seed(self) -> int:
        """Training seed."""
        return _seed(self.cell)

    @property
    def name(self) -> str:
        """Name of the run directory: slug and identity."""
        return self.run_dir.name

    @property
    def total_steps(self) -> int:
        """Planned training steps."""
        return int(self.cell.get("settings", {}).get("total_steps") or self.status.total)

    @property
    def done(self) -> bool:
        """Whether last planned step and final evaluation are recorded; an imported run is as it is."""
        return self.status.state in (states.DONE, IMPORTED)

    @cached_property
    def benchmarks(self) -> list[dict[str, Any]]:
        """Planned benchmarks, each {"name", "samples", "problems"}; else those that have samples."""
        names = sorted({name for _, name in self.evaluations})
        return _planned(self.cell) or [{"name": name, "samples": 1, "problems": None} for name in names]

    @cached_property
    def anatomy(self) -> dict[str, np.ndarray]:
        """Per-step ratios from the logged counts, as ``records.anatomy`` has them."""
        return anatomy(self.metrics)

    def gaps(self, step: int, benchmark: str) -> list[str]:
        """What is missing from one evaluation of one benchmark; empty when it is complete."""
        return list(self.evaluation(step, benchmark).gaps)

    def evaluation(self, step: int, benchmark: str) -> Evaluated:
        """One evaluation during training."""
        return self.evaluations.get((step, benchmark)) or absent(step, benchmark)

    def sampled_steps(self) -> list[int]:
        """Steps with any evaluation, ascending."""
        return sorted({step for step, _ in self.evaluations})

    def evaluated_steps(self, benchmark: str) -> list[int]:
        """Steps with a complete evaluation of the benchmark, ascending."""
        return [step for step in self.sampled_steps() if not self.gaps(step, benchmark)]

    def prepared(self) -> RunView:
        """Itself, with all that is asked of every run already found."""
        for owner, name in ((self, "anatomy"), (self.metrics, "last_step")):
            getattr(owner, name)  # kept from now on
        return self

    def progress(self) -> str:
        """Why a number is not there: ``not run``, ``running, step 7 of 24``; a done run did not record it."""
        if self.done:
            return "not recorded"
        if self.status.state == states.PLANNED and self.status.step == 0:
            return "not run"
        word = "interrupted" if self.status.state == states.PLANNED else self.status.state
        return f"{word}, step {self.status.step} of {self.total_steps}"

    def _slug(self) -> Sequence[str]:
        parts = self.run_dir.name.split("__")
        return parts if len(parts) >= 3 else (self.run_dir.name, "unknown scale")


def load_runs(loads: Sequence[Callable[[], RunView]]) -> list[RunView]:
    """What each of them loads, in order; many are read on all cores.

    Args:
        loads: calls of ``RunView.load``, and of ``status_of`` right before, as a run may be going on.
    """
    many = len(loads) >= MANY
    runs = parallel.spread(lambda i: loads[i]().prepared() if many else loads[i](), len(loads), least=MANY)
    _share_names(runs)
    return runs


def _share_names(runs: Sequence[RunView]) -> None:
    """Equal names of problems become one array: a thousand runs were asked the same ones."""
    known: dict[tuple[str, bytes], np.ndarray] = {}
    for run in runs:
        for key, one in run.evaluations.items():
            names = known.setdefault((one.problems.dtype.str, one.problems.tobytes()), one.problems)
            run.evaluations[key] = replace(one, problems=names)


def _planned(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    planned = cell.get("settings", {}).get("eval", {}).get("benchmarks") or ()
    return [{"problems": None, "samples": 1, **benchmark} for benchmark in planned]


def _seed(cell: Mapping[str, Any]) -> int:
    seed = cell.get("seed")
    return seed if isinstance(seed, int) else 0


def _file_notes(run_dir: Path, status: Status) -> list[str]:
    if not run_dir.is_dir():
        return []
    notes = [
        f"{name} is missing or not readable"
        for name in ("cell.json", "manifest.json")
        if read_json(run_dir / name) is None
    ]
    if status.state == states.FAILED and status.why:  # why it stalled holds a time of day: not reproducible
        notes.append(f"failed: {status.why}")
    return notes


def _hashes(run_dir: Path) -> dict[str, str]:
    files = [run_dir / "cell.json", run_dir / "manifest.json"]
    sources = [*attempt_files(run_dir).values(), *validation_files(run_dir).values()]
    files += sources or [
        run_dir / "metrics.parquet",
        run_dir / "samples.parquet",
    ]  # then these are the records
    return {f.relative_to(run_dir).as_posix(): sha256(f.read_bytes()) for f in files if f.is_file()}

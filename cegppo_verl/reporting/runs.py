"""A run as a report sees it: its cell, provenance, state and numbers, whatever of them is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cegppo_verl.records import status as states
from cegppo_verl.records.anatomy import anatomy
from cegppo_verl.records.derived import sha256
from cegppo_verl.records.importers.writing import IMPORTED
from cegppo_verl.records.metrics import Metrics, attempt_files, load_metrics
from cegppo_verl.records.rundir import read_json
from cegppo_verl.records.samples import Samples, completeness, load_samples, validation_files
from cegppo_verl.records.status import Status
from cegppo_verl.reporting import parallel

MANY = 64  # runs that are read on all cores
_LOGGED = ("step", "key", "value")
_USED = ("step", "benchmark", "problem", "sample", "correct", "outcome", "grader")


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of one benchmark.

    Attributes:
        problems: (P,) names, sorted. verdicts: (P, K) 0 or 1, NaN where there is no sample or no verdict.
        graders: names and versions. outcomes: samples by outcome. gaps: what is missing, a sentence each.
    """

    problems: np.ndarray
    verdicts: np.ndarray
    graders: frozenset[str]
    outcomes: dict[str, int]
    gaps: tuple[str, ...]


@dataclass(frozen=True)
class RunView:
    """One training run.

    Attributes:
        run_dir: where its records lie; need not exist.
        cell: the resolved cell; empty when nobody knows it.
        manifest: provenance; empty when there is none.
        status: state derived from the files.
        metrics, samples: stitched numbers, the columns that reports use; empty frames when there are none.
        records: SHA-256 of every record file, by path inside the run directory.
        notes: what is damaged or missing, one sentence each.
    """

    run_dir: Path
    cell: dict[str, Any]
    manifest: dict[str, Any]
    status: Status
    metrics: Metrics
    samples: Samples
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
        metrics = load_metrics(run_dir, _LOGGED)
        identity = str(resolved.get("id", ""))
        samples = load_samples(run_dir, cell_id=identity, seed=_seed(resolved), columns=_USED)
        notes = (*_file_notes(run_dir, status), *metrics.notes, *samples.notes)
        manifest = read_json(run_dir / "manifest.json") or {}
        slim = Metrics(metrics.frame), Samples(samples.frame)
        return cls(run_dir, resolved, manifest, status, *slim, _hashes(run_dir), notes)

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
        planned = self.cell.get("settings", {}).get("eval", {}).get("benchmarks")
        if planned:
            return [{"problems": None, "samples": 1, **benchmark} for benchmark in planned]
        names = sorted(map(str, self.samples.frame["benchmark"].unique()))
        return [{"name": name, "samples": 1, "problems": None} for name in names]

    @cached_property
    def anatomy(self) -> dict[str, np.ndarray]:
        """Per-step ratios from the logged counts, as ``records.anatomy`` has them."""
        return anatomy(self.metrics)

    def gaps(self, step: int, benchmark: str) -> list[str]:
        """What is missing from one evaluation of one benchmark; empty when it is complete."""
        return list(self.evaluation(step, benchmark).gaps)

    def evaluation(self, step: int, benchmark: str) -> Evaluated:
        """One evaluation during training; made once, as a report asks for it again and again."""
        kept: dict[tuple[int, str], Evaluated] = vars(self).setdefault("_evaluations", {})
        if (step, benchmark) not in kept:
            plans = [plan for plan in self.benchmarks if plan["name"] == benchmark]
            kept[step, benchmark] = _evaluated(
                self.samples, step, benchmark, plans or [{"name": benchmark, "samples": 1}]
            )
        return kept[step, benchmark]

    def evaluated_steps(self, benchmark: str) -> list[int]:
        """Steps with a complete evaluation of the benchmark, ascending."""
        return [step for step in self.samples.steps() if not self.gaps(step, benchmark)]

    def prepared(self) -> RunView:
        """Itself, with all that is asked of every run already found, and without what that took."""
        for step in self.samples.steps():
            for plan in self.benchmarks:
                self.evaluation(step, plan["name"])
        for owner, name in ((self, "anatomy"), (self.metrics, "last_step")):
            getattr(owner, name)  # kept from now on
        for records in (self.samples, self.metrics):
            records.forget()
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
    return parallel.spread(lambda i: loads[i]().prepared() if many else loads[i](), len(loads), least=MANY)


def _evaluated(samples: Samples, step: int, benchmark: str, plans: Sequence[Mapping[str, Any]]) -> Evaluated:
    rows, arrays = samples.rows(step, benchmark), samples.arrays
    names, at = _sorted_names(samples.labels["problem"], arrays["problem"][rows])
    place = arrays["sample"][rows]
    verdicts = np.full((len(names), int(place.max()) + 1 if len(place) else 0), np.nan)
    verdicts[at, place] = arrays["correct"][rows]
    graders = frozenset(_counts(samples.labels["grader"], arrays["grader"][rows]))
    outcomes = _counts(samples.labels["outcome"], arrays["outcome"][rows])
    return Evaluated(names, verdicts, graders, outcomes, tuple(completeness(samples, step, plans)))


def _sorted_names(names: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The names that occur, sorted, and each row's place among them."""
    found, rows = np.unique(codes, return_inverse=True)
    order = np.argsort(names[found])
    return names[found][order].astype(str), np.argsort(order)[rows]


def _counts(names: np.ndarray, codes: np.ndarray) -> dict[str, int]:
    """How often each name occurs."""
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    return {names[place]: int(counts[place]) for place in np.flatnonzero(counts)}


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

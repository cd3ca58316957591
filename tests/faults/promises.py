"""What must hold of a grid's records at every moment and at the end, checked without the code under test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import psutil

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import jobs, processes
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.cells import run_dir
from cegppo_verl.launch.executors.local import SUBMISSION
from cegppo_verl.records import submission
from cegppo_verl.records.metrics import load_metrics
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.status import DONE, status_of


class BrokenError(AssertionError):
    """A promise that did not hold."""


class Witness:
    """Looks on at the cells of a grid and remembers every recorded line.

    Args:
        cells: all with the same number of steps.
        results: folder of the run directories.
        samples: lines of a complete final evaluation.
    """

    def __init__(self, cells: Sequence[Cell], results: Path, samples: int) -> None:
        self.cells, self.results, self.samples = cells, results, samples
        self.steps = cells[0].settings.total_steps
        self.seen: dict[tuple[Path, int], bytes] = {}

    def dirs(self) -> list[RunDir]:
        """Of the cells that have one."""
        return [run for c in self.cells if (run := run_dir(c, self.results)).path.is_dir()]

    def logged(self) -> int:
        """Lines recorded so far."""
        return len(self.seen)

    def look(self) -> None:
        """Nothing recorded may vanish, and nothing may be called done that is not."""
        for run in self.dirs():
            for attempt in run.attempts():
                self.keep(attempt.metrics_file)
        for cell in self.cells:
            run = run_dir(cell, self.results)
            if status_of(run, cell_json(cell)).state == DONE and not self.is_whole(run):
                raise BrokenError(f"{cell.slug} is called done and is not")

    def keep(self, file: Path) -> None:
        """Each complete line of a metric log stays as it was."""
        if not file.exists():
            return
        lines = file.read_bytes().split(b"\n")[:-1]
        for number, line in enumerate(lines):
            try:
                json.loads(line)
            except ValueError:
                continue  # garbled by the fault: never a record
            if self.seen.setdefault((file, number), line) != line:
                raise BrokenError(f"a recorded line of {file} changed")
        known = max((n for f, n in self.seen if f == file), default=-1)
        if known >= len(lines):
            raise BrokenError(f"a recorded line of {file} is gone")

    def is_whole(self, run: RunDir) -> bool:
        """Every step logged by some attempt, the last evaluation complete."""
        steps = set()
        for file in run.path.glob("attempts/*/metrics.jsonl"):
            for line in file.read_bytes().split(b"\n"):
                try:
                    entry = json.loads(line)
                    steps |= {entry["step"]} if "training/global_step" in entry["data"] else set()
                except (ValueError, TypeError, KeyError):
                    continue
        dump = run.validation / f"{self.steps}.jsonl"
        whole = dump.exists() and dump.read_bytes().count(b"\n") == self.samples
        return whole and steps >= set(range(1, self.steps + 1))

    def verify(self) -> dict[str, list[float]]:
        """At the end: complete, stitched without gap or double, every failure with a cause, nothing left.

        Returns:
            the stitched entropies, by slug.
        """
        stitched = {}
        for cell in self.cells:
            run = run_dir(cell, self.results)
            steps, values = load_metrics(run.path).series("actor/entropy")
            if steps.tolist() != list(range(1, self.steps + 1)):
                raise BrokenError(f"{cell.slug}: stitched steps {steps.tolist()}")
            stitched[cell.slug] = values.tolist()
            self.verify_attempts(run)
        left = self.processes()
        if left:
            raise BrokenError(f"processes left: {left}")
        return stitched

    def verify_attempts(self, run: RunDir) -> None:
        """Each ended attempt says how, and each but the last why."""
        attempts = run.attempts()
        if attempts[-1].record().get("outcome") != "completed" and not self.is_whole(run):
            raise BrokenError(f"the last attempt says {attempts[-1].record()}")
        for attempt in attempts[:-1]:
            record = attempt.record()
            if "outcome" not in record or not record.get("cause"):
                raise BrokenError(f"an end without a cause: {record}")
            if record["outcome"] == "failed" and not record.get("cause_kind"):
                raise BrokenError(f"a failure of no kind: {record}")

    def causes(self) -> list[str]:
        """Of all attempts but each cell's last."""
        return [str(a.record().get("cause")) for run in self.dirs() for a in run.attempts()[:-1]]

    def processes(self) -> list[psutil.Process]:
        """Of all attempts of all cells."""
        marks = [jobs.mark(a) for run in self.dirs() for a in run.attempts()]
        return [p for mark in marks for p in processes.marked(mark)]

    def nodes(self) -> list[psutil.Process]:
        """Processes that carry a submission's mark: the node side and what it started."""
        names = [job.name for run in self.dirs() if (job := submission.read(run)) is not None]
        return [p for name in names for p in processes.marked(name, SUBMISSION)]


def words(process: psutil.Process) -> list[str]:
    """Its command line; empty once it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []

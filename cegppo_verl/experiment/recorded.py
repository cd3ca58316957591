"""What earlier runs of a results folder say, as far as a plan needs it: places, times, clipping, metrics.

A folder may hold 10,000 runs. One look at the names of the folders is all that is always paid; of the files,
a bounded sample is read, and only of scales that are asked about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.records import overview
from cegppo_verl.records.overview import Wanted
from cegppo_verl.records.progress import Goal
from cegppo_verl.records.rundir import Json, RunDir, read_json

MOST_CELLS = 120  # cell files read per grid folder and scale
MOST_RUNS = 5  # runs whose metrics are read, of those with the same settings
TAIL_BYTES = 1_000_000  # of a metric log: hundreds of steps

_NAME = re.compile(r".+__(?P<scale>[^_]+(?:_[^_]+)*)__seed\d+-(?P<id>[0-9a-f]{12})")


@dataclass(frozen=True)
class Run:
    """A run directory and the cell it belongs to."""

    path: Path
    cell: Json
    _values: dict[str, list[float]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def settings(self) -> Json:
        """The recorded training settings."""
        return self.cell["settings"]

    @cached_property
    def text(self) -> bytes:
        """The end of the newest attempt's metric log; empty when nothing is logged."""
        return next(
            (text for a in reversed(RunDir(self.path).attempts()) if (text := _tail(a.metrics_file))), b""
        )

    def values(self, key: str) -> list[float]:
        """Every logged value of a metric in the newest attempt, oldest first; not finite ones left out."""
        if key not in self._values:
            found = re.findall(rb'"' + re.escape(key.encode()) + rb'":(-?[0-9][0-9.eE+-]*)', self.text)
            self._values[key] = [float(value) for value in found]
        return self._values[key]

    def metric_names(self) -> set[str]:
        """Names of all metrics in the log that is kept in :attr:`text`."""
        return {key.decode("utf-8", "replace") for key in re.findall(rb'"([^"]+)":', self.text)} - {
            "step",
            "data",
        }

    @property
    def overhead(self) -> float | None:
        """Seconds of a whole, undisturbed attempt outside its steps and evaluations: start-up, mostly.

        None when no attempt trained every step and ended well.
        """
        for attempt in RunDir(self.path).attempts():
            record, steps = attempt.record(), self.values("timing_s/step")
            whole = record.get("outcome") == "completed" and record.get("resumed_from") == 0
            if whole and len(steps) == self.settings["total_steps"] and record.get("seconds"):
                return max(0.0, float(record["seconds"]) - sum(steps) - sum(self.values("timing_s/testing")))
        return None


class Recorded:
    """The runs below a results folder.

    Args:
        results: ``results/runs``; it need not exist.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self._runs: dict[str, list[Run]] = {}

    @cached_property
    def folders(self) -> Mapping[str, list[Path]]:
        """Run directories by cell id."""
        return overview.run_folders(self.results)

    def place(self, cell: Cell) -> Path | None:
        """The run directory of a cell, the grid's own before another's; None when nothing was run."""
        known = self.folders.get(cell.id, ())
        own = (path for path in known if path.parent.name == cell.grid and path.name == cell.run_name)
        return next(own, known[0] if known else None)

    def runs(self, scale: str) -> list[Run]:
        """A sample of the runs of a scale, evenly over each grid folder; damaged ones left out."""
        if scale not in self._runs:
            chosen = [path for folder in self._of(scale).values() for path in _spread(folder, MOST_CELLS)]
            self._runs[scale] = [run for path in chosen if (run := _read(path)) is not None]
        return self._runs[scale]

    def scales(self) -> list[str]:
        """Scales that have runs."""
        return list(self._by_scale)

    def _of(self, scale: str) -> Mapping[str, list[Path]]:
        return self._by_scale.get(scale, {})

    @cached_property
    def _by_scale(self) -> dict[str, dict[str, list[Path]]]:
        found: dict[str, dict[str, list[Path]]] = {}
        for path in (path for paths in self.folders.values() for path in paths):
            if match := _NAME.fullmatch(path.name):
                found.setdefault(match["scale"], {}).setdefault(path.parent.name, []).append(path)
        return found


def wanted(cells: Iterable[Cell]) -> Iterator[Wanted]:
    """The cells as :mod:`~cegppo_verl.records.overview` looks for them."""
    goals: dict[int, Goal] = {}  # the cells of an arm share their settings
    for cell in cells:
        key = id(cell.settings)
        if key not in goals:
            goals[key] = Goal.of({"settings": cell.settings.model_dump(mode="json")})
        yield Wanted(cell.id, cell.grid, cell.run_name, goals[key])


def sample(runs: Sequence[Run]) -> list[Run]:
    """Up to :data:`MOST_RUNS` of ``runs``, evenly spread, whose metrics are worth reading."""
    return _spread(list(runs), MOST_RUNS)


def _spread(items: list[Any], most: int) -> list[Any]:
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _read(path: Path) -> Run | None:
    cell = read_json(path / "cell.json")
    known = (
        cell is not None and isinstance(cell.get("settings"), dict) and isinstance(cell.get("params"), dict)
    )
    return Run(path, cell) if cell is not None and known else None


def _tail(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            start = max(0, file.stat().st_size - TAIL_BYTES)
            stream.seek(start)
            text = stream.read()
    except OSError:
        return b""
    return text[text.find(b"\n") + 1 :] if start else text

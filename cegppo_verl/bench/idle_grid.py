"""A grid whose jobs do nothing: the process that bench/runner_idle.py watches.

    python -m cegppo_verl.bench.idle_grid FOLDER CELLS AT_WORK VIEW

The real runner, with the real files of CELLS toy cells in FOLDER, on a cluster that has room for AT_WORK of
them and where a started job logs one step and then stays at it. VIEW is live (drawn as on a terminal of 50
lines) or plain. FOLDER/settled appears once everything is started and the runner has looked again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from rich.console import Console

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.executors.base import Capacity, JobState, JobStatus, Task
from cegppo_verl.launch.options import Options
from cegppo_verl.launch.planning import load
from cegppo_verl.launch.runner import GridRunner
from cegppo_verl.launch.view import LiveView, PlainView
from cegppo_verl.records.status import Status

SETTLED = "settled"
GRID = """\
name: idle
question: What does a runner cost that has nothing to do?
hypothesis: Less than 1 % of a core.
refuted_by: More than that.
scales: [toy-s]
seeds: [{seeds}]
arms:
  - {{name: first, algorithm: grpo, params: {{epsilon: 0.2}}}}
  - {{name: second, algorithm: cegppo, params: {{beta1: 0.5, beta2: 1.0}}}}
"""


class Parked:
    """A cluster of one-GPU nodes on which every job has begun and none ends."""

    name: ClassVar[str] = "parked"
    detached: ClassVar[bool] = True

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus

    def check(self, tasks: Sequence[Task]) -> None:
        """Everything fits."""

    def files(self, task: Task) -> dict[str, str]:
        """Nothing is handed over."""
        return {}

    def submit(self, task: Task) -> str:
        """The job begins: an attempt with one logged step."""
        attempt = task.run.new_attempt()
        attempt.update(number=attempt.number, resumed_from=0, submission=task.name)
        attempt.metrics_file.write_text('{"step": 0, "data": {}}\n')
        return task.name

    def statuses(self, names: Sequence[str]) -> dict[str, JobStatus]:
        """At it."""
        return {name: JobStatus(JobState.RUNNING) for name in names}

    def cancel(self, name: str) -> None:
        """Nobody does."""

    def capacity(self) -> Capacity:
        """All in use by the jobs that were submitted; the runner counts those itself."""
        return Capacity((1,) * self.gpus, (1,) * self.gpus)

    def close(self) -> None:
        """Nothing is held."""


class Settling:
    """Passes a view's events on, and says when all jobs have begun and been seen."""

    def __init__(self, view: LiveView | PlainView, jobs: int, file: Path) -> None:
        self.view, self.jobs, self.file = view, jobs, file
        self.cell_started, self.cell_ended = view.cell_started, view.cell_ended
        self.note, self.end = view.note, view.end
        self._ticks = 0

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        """The grid starts."""
        self.view.begin(cells, states)

    def step(self, cell: Cell, step: object) -> None:
        """One job more has been seen to run."""
        self.view.step(cell, step)  # type: ignore[arg-type]
        self.jobs -= 1

    def tick(self) -> None:
        """A turn is over."""
        self.view.tick()
        self._ticks += self.jobs <= 0
        if self._ticks == 2:
            self.file.touch()


def cells_of(folder: Path, count: int) -> list[Cell]:
    """So many cells of a grid file in ``folder``."""
    file = folder / "grid.yaml"
    file.write_text(GRID.format(seeds=", ".join(str(n) for n in range(1, -(-count // 2) + 1))))
    return load(file, None, None)[1][:count]


def main() -> None:
    """Runs until it is ended; see the module's text."""
    folder, count, at_work, view = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    with (folder / "screen").open("w") as screen:
        live = view == "live"
        console = Console(file=screen, force_terminal=live, width=120, height=50)
        shown = Settling(LiveView(console) if live else PlainView(console), at_work, folder / SETTLED)
        options = Options(results=folder / "runs", executor=Parked(at_work))
        GridRunner(cells_of(folder, count), options, shown).run()


if __name__ == "__main__":
    main()

"""Watches a cell that is executed somewhere, by its files alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.view import View
from cegppo_verl.records import progress
from cegppo_verl.records.rundir import Attempt, RunDir


@dataclass
class Watch:
    """Tells the view of each new attempt and of each newly logged step, once and in order.

    Args:
        since: attempts up to this number are of the past.
    """

    cell: Cell
    run: RunDir
    view: View
    since: int = 0
    _attempt: Attempt | None = None
    _size: int = -1
    _seen: int = field(default=0)

    def look(self) -> None:
        """Read what is new."""
        for attempt in [a for a in self._later() if "resumed_from" in a.record()]:
            self._read()  # what the attempt before it still wrote
            self._attempt, self._size, self._seen, self.since = attempt, -1, 0, attempt.number
            self.view.cell_started(self.cell, attempt.number, attempt.record()["resumed_from"] or 0)
        self._read()

    def _later(self) -> list[Attempt]:
        """Attempts made since; one question to the file system while there are none."""
        path = self.run.path / "attempts" / f"{self.since + 1:03d}"
        return [a for a in self.run.attempts() if a.number > self.since] if path.is_dir() else []

    def _read(self) -> None:
        if self._attempt is None:
            return
        file = self._attempt.metrics_file
        try:
            size = file.stat().st_size
        except OSError:
            return
        if size == self._size:
            return
        self._size = size
        steps = progress.read_steps(file)
        for step in steps[self._seen :]:
            self.view.step(self.cell, step)
        self._seen = max(self._seen, len(steps))

"""What a person sees while a grid runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch.board import MANY, Board, Row, duration, number
from cegppo_verl.launch.board_table import COLOURS, table
from cegppo_verl.launch.terminal_text import counted, say
from cegppo_verl.records.metric_digest import validation_accuracy
from cegppo_verl.records.progress import LoggedStep
from cegppo_verl.records.status import DONE, Status

__all__ = ["COLOURS", "Board", "LiveView", "PlainView", "Row", "View", "choose_view", "duration", "number"]
__all__ += ["rows_that_fit", "validation_accuracy"]

REFRESH_SECONDS = 1.0
REFRESH_SECONDS_MANY = 5.0  # of a board with hundreds of rows: drawing it must not cost the runner a core
HINT = "Ctrl-C stops; the same command goes on"


class View(Protocol):
    """Receives the events of a running grid. All calls come from one thread; cells may overlap."""

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        """The grid starts; ``states`` by cell id."""

    def cell_started(self, cell: Cell, attempt: int, resume_from: int) -> None:
        """An attempt starts."""

    def step(self, cell: Cell, step: LoggedStep) -> None:
        """verl logged a step."""

    def cell_ended(self, cell: Cell, status: Status, cause: str | None) -> None:
        """An attempt ended."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def tick(self) -> None:
        """Called several times a second."""

    def end(self, states: Mapping[str, Status]) -> None:
        """The grid is over."""


class _Base:
    """Keeps the board; the subclasses show it."""

    def __init__(self, console: Console) -> None:
        self.console, self.board = console, Board()

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        self.board.begin(cells, states)

    def cell_started(self, cell: Cell, attempt: int, resume_from: int) -> None:
        self.board.rows[cell.id].begin(resume_from)

    def step(self, cell: Cell, step: LoggedStep) -> None:
        row = self.board.rows[cell.id]
        if not row.step_seconds and row.started is not None:
            self.board.startup = time.monotonic() - row.started
        row.update(step)

    def cell_ended(self, cell: Cell, status: Status, cause: str | None) -> None:
        self.board.rows[cell.id].finish(status, cause)


class PlainView(_Base):
    """One line per event: for logs, CI and pipes."""

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        """Announce the grid."""
        super().begin(cells, states)
        done = sum(s.state == DONE for s in states.values())
        say(self.console, f"{counted(len(cells), 'cell')}, {done} done")

    def cell_started(self, cell: Cell, attempt: int, resume_from: int) -> None:
        """Announce an attempt."""
        super().cell_started(cell, attempt, resume_from)
        origin = f", resuming from step {resume_from}" if resume_from else ""
        say(self.console, f"{cell.slug}: attempt {attempt}{origin}")

    def step(self, cell: Cell, step: LoggedStep) -> None:
        """One line per logged step."""
        super().step(cell, step)
        row, total = self.board.rows[cell.id], cell.settings.total_steps
        say(
            self.console,
            f"{cell.slug}: step {step.step} of {total}  accuracy {number(row.accuracy)}  "
            f"entropy {number(row.entropy)}  left {duration(self.board.left(row))} "
            f"(grid {duration(self.board.total_left())})",
        )

    def cell_ended(self, cell: Cell, status: Status, cause: str | None) -> None:
        """How it ended."""
        super().cell_ended(cell, status, cause)
        seconds = self.board.rows[cell.id].seconds
        say(self.console, f"{cell.slug}: {status.text()} after {duration(seconds)}")

    def note(self, text: str) -> None:
        """Print a line."""
        say(self.console, text)

    def tick(self) -> None:
        """Nothing: lines are printed when something happens."""

    def end(self, states: Mapping[str, Status]) -> None:
        """Closing line."""
        done = sum(s.state == DONE for s in states.values())
        say(self.console, f"{done} of {counted(len(states), 'cell')} done")


class LiveView(_Base):
    """A table that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.live = Live(console=console, auto_refresh=False, transient=False)
        self._last = 0.0

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        """Draw the first table."""
        super().begin(cells, states)
        if any(s.state != DONE for s in states.values()):
            self.live.start()
        self._draw()

    def cell_ended(self, cell: Cell, status: Status, cause: str | None) -> None:
        """Redraw at once; why it failed is a line that stays above the table."""
        super().cell_ended(cell, status, cause)
        if status.state != DONE:
            self.note(f"{cell.slug}: {status.text()}")
        self._draw()

    def note(self, text: str) -> None:
        """Print a line above the table."""
        say(self.live.console, text)

    def tick(self) -> None:
        """Redraw once a second."""
        pause = REFRESH_SECONDS if len(self.board.rows) <= MANY else REFRESH_SECONDS_MANY
        if time.monotonic() - self._last >= pause:
            self._draw()

    def end(self, states: Mapping[str, Status]) -> None:
        """Last table, then give the terminal back."""
        self.board.take(states)
        done = sum(s.state == DONE for s in states.values())
        if not self.live.is_started:  # nothing was to be done, which must be said, too
            self.console.print(self._table())
        self._draw()
        self.live.stop()
        say(self.console, f"{done} of {counted(len(states), 'cell')} done")

    def _draw(self) -> None:
        self._last = time.monotonic()
        if self.live.is_started:
            self.live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        return table(self.board, rows_that_fit(self.console), HINT)


def rows_that_fit(console: Console) -> int:
    """Rows of a table that is redrawn in place: what scrolls out of the window cannot be redrawn."""
    return max(console.height - 6, 5)


def choose_view(console: Console) -> View:
    """Live in a terminal, plain lines elsewhere."""
    return LiveView(console) if console.is_terminal else PlainView(console)

"""What a person sees while a grid runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.records.progress import LoggedStep
from cegppo_verl.records.status import DONE, PLANNED, RUNNING, Status

REFRESH_SECONDS = 1.0
COLOURS = {"done": "green", "running": "cyan", "stalled": "yellow", "failed": "red", "planned": "dim"}


class View(Protocol):
    """Receives the events of a running grid."""

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


@dataclass
class Row:
    """What is shown of one cell."""

    cell: Cell
    state: str
    step: int
    accuracy: float | None = None
    train_score: float | None = None
    entropy: float | None = None
    started: float | None = None
    phase: str = ""
    step_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def update(self, step: LoggedStep) -> None:
        """Take over what a logged line says."""
        data = step.data
        self.phase = ""
        if "training/global_step" in data:
            self.step = step.step
            self.step_seconds.append(data.get("timing_s/step", 0.0) + data.get("timing_s/testing", 0.0))
        self.entropy = data.get("actor/entropy", self.entropy)
        self.train_score = data.get("critic/score/mean", self.train_score)
        self.accuracy = validation_accuracy(data) if validation_accuracy(data) is not None else self.accuracy

    def per_step(self) -> float | None:
        """Mean seconds per step of this attempt, evaluations included; None before the first."""
        return sum(self.step_seconds) / len(self.step_seconds) if self.step_seconds else None


def validation_accuracy(data: Mapping[str, float]) -> float | None:
    """Mean of verl's ``val-core/<benchmark>/…/mean@k`` values in a logged line."""
    values = [v for k, v in data.items() if k.startswith("val-core/") and "/acc/mean@" in k]
    return sum(values) / len(values) if values else None


@dataclass
class Board:
    """The rows of a grid and the estimate of the time left, shared by both views."""

    rows: dict[str, Row] = field(default_factory=dict)
    startup: float = 40.0  # until the first cell has shown its own

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        """Fill the board."""
        self.rows = {c.id: Row(c, states[c.id].state, states[c.id].step) for c in cells}

    def left(self, row: Row) -> float | None:
        """Seconds left for a cell, by its own pace, else by that of the cells before it."""
        if row.state == DONE:
            return 0.0
        pace = row.per_step() or self._pace(row.cell.scale)
        if pace is None:
            return None
        steps = row.cell.settings.total_steps - row.step
        return steps * pace + (self.startup if not row.step_seconds else 0.0)

    def _pace(self, scale: str) -> float | None:
        known = [r.per_step() for r in self.rows.values() if r.cell.scale == scale]
        values = [k for k in known if k is not None]
        return sum(values) / len(values) if values else None

    def total_left(self) -> float | None:
        """Seconds left for the grid; None while no pace is known."""
        parts = [self.left(r) for r in self.rows.values() if r.state in (PLANNED, RUNNING)]
        return sum(p for p in parts if p is not None) if parts and all(p is not None for p in parts) else None


def duration(seconds: float | None) -> str:
    """``1 h 05 min``, ``3 min 20 s`` or ``–``."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def number(value: float | None) -> str:
    """Three decimals, or a dash for what is not known."""
    return "–" if value is None else f"{value:.3f}"


class _Base:
    """Keeps the board; the subclasses show it."""

    def __init__(self, console: Console) -> None:
        self.console, self.board = console, Board()

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        self.board.begin(cells, states)

    def cell_started(self, cell: Cell, attempt: int, resume_from: int) -> None:
        row = self.board.rows[cell.id]
        row.state, row.started, row.step, row.step_seconds = RUNNING, time.monotonic(), resume_from, []
        row.phase = f"resuming from step {resume_from}" if resume_from else "starting up"

    def step(self, cell: Cell, step: LoggedStep) -> None:
        row = self.board.rows[cell.id]
        if not row.step_seconds and row.started is not None:
            self.board.startup = time.monotonic() - row.started
        row.update(step)

    def cell_ended(self, cell: Cell, status: Status, cause: str | None) -> None:
        row = self.board.rows[cell.id]
        row.state, row.step, row.phase = status.state, status.step, cause or ""
        row.seconds = time.monotonic() - row.started if row.started else 0.0


class PlainView(_Base):
    """One line per event: for logs, CI and pipes."""

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        """Announce the grid."""
        super().begin(cells, states)
        done = sum(s.state == DONE for s in states.values())
        self._say(f"{len(cells)} cells, {done} done")

    def cell_started(self, cell: Cell, attempt: int, resume_from: int) -> None:
        """Announce an attempt."""
        super().cell_started(cell, attempt, resume_from)
        origin = f", resuming from step {resume_from}" if resume_from else ""
        self._say(f"{cell.slug}: attempt {attempt}{origin}")

    def step(self, cell: Cell, step: LoggedStep) -> None:
        """One line per logged step."""
        super().step(cell, step)
        row, total = self.board.rows[cell.id], cell.settings.total_steps
        self._say(
            f"{cell.slug}: step {step.step} of {total}  accuracy {number(row.accuracy)}  "
            f"entropy {number(row.entropy)}  left {duration(self.board.left(row))} "
            f"(grid {duration(self.board.total_left())})"
        )

    def cell_ended(self, cell: Cell, status: Status, cause: str | None) -> None:
        """How it ended."""
        super().cell_ended(cell, status, cause)
        self._say(f"{cell.slug}: {status.text()} after {duration(self.board.rows[cell.id].seconds)}")

    def note(self, text: str) -> None:
        """Print a line."""
        self._say(text)

    def tick(self) -> None:
        """Nothing: lines are printed when something happens."""

    def end(self, states: Mapping[str, Status]) -> None:
        """Closing line."""
        done = sum(s.state == DONE for s in states.values())
        self._say(f"{done} of {len(states)} cells done")

    def _say(self, text: str) -> None:
        self.console.print(escape(text), highlight=False, soft_wrap=True)


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
        self.live.console.print(escape(text))

    def tick(self) -> None:
        """Redraw once a second."""
        if time.monotonic() - self._last >= REFRESH_SECONDS:
            self._draw()

    def end(self, states: Mapping[str, Status]) -> None:
        """Last table, then give the terminal back."""
        for identity, status in states.items():
            self.board.rows[identity].state = status.state
            self.board.rows[identity].step = status.step
        done = sum(s.state == DONE for s in states.values())
        if not self.live.is_started:  # nothing was to be done, which must be said, too
            self.console.print(self._table())
        self._draw()
        self.live.stop()
        self.console.print(f"{done} of {len(states)} cells done", highlight=False)

    def _draw(self) -> None:
        self._last = time.monotonic()
        if self.live.is_started:
            self.live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        left = self.board.total_left()
        table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
        table.caption = (
            f"time left {duration(left)}  (Ctrl-C stops; the same command goes on)" if left else None
        )
        for title in ("cell", "state", "step", "accuracy", "train", "entropy", "s/step", "left"):
            table.add_column(title, justify="left" if title in ("cell", "state") else "right", no_wrap=True)
        for row in self.board.rows.values():
            table.add_row(*self._cells(row))
        return table

    def _cells(self, row: Row) -> list[str]:
        pace = row.per_step()
        waiting = f" {duration(time.monotonic() - row.started)}" if row.phase and row.started else ""
        shown = f"{row.phase}{waiting}" if row.state == RUNNING and row.phase else row.state
        return [
            row.cell.slug,
            f"[{COLOURS.get(row.state, 'white')}]{escape(shown)}[/]",
            f"{row.step}/{row.cell.settings.total_steps}",
            number(row.accuracy),
            number(row.train_score),
            number(row.entropy),
            "–" if pace is None else f"{pace:.1f}",
            duration(self.board.left(row)) if row.state != DONE else "",
        ]


def choose_view(console: Console) -> View:
    """Live in a terminal, plain lines elsewhere."""
    return LiveView(console) if console.is_terminal else PlainView(console)

"""``cegppo watch``: the runner's board, from files alone, of a grid that anybody runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.experiment.recorded import wanted
from cegppo_verl.launch.board import Board, duration, number
from cegppo_verl.launch.board_table import table
from cegppo_verl.launch.terminal_text import say
from cegppo_verl.launch.view import rows_that_fit
from cegppo_verl.records.overview import Overview
from cegppo_verl.records.status import DONE, LIVE, Status

SAVE_SECONDS = 60.0
MOST_LINES = 60  # of a table that is printed, not redrawn
COST_FACTOR = 20  # look at most every so many times as long as a look takes: 5 % of a core
HINT = "Ctrl-C ends the view, not the grid"


def run(
    grid: Path,
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    console: Console,
    *,
    every: float = 2.0,
    once: bool = False,
) -> None:
    """Watch a grid that anybody runs: progress, time left, last numbers; plain lines without a terminal.

    Args:
        every: seconds between looks.
        once: show it once and return.

    Raises:
        UserError: the grid file is wrong.
    """
    watcher = Watcher(expand(load_grid(grid, scale=scale, seeds=seeds)), results)
    watcher.look()
    try:
        if once or not console.is_terminal:
            _plain(watcher, console, every, once=once)
        else:
            _live(watcher, console, every)
    except KeyboardInterrupt:
        pass
    finally:
        watcher.overview.save()


class Watcher:
    """Looks at the cells of a grid again and again."""

    def __init__(self, cells: Sequence[Cell], results: Path) -> None:
        self.cells = list(cells)
        self.overview = Overview(results, save_every=SAVE_SECONDS)
        self.board = Board()
        self.states: dict[str, Status] = {}
        self._wanted = list(wanted(self.cells))
        self._cost = 0.0

    def look(self) -> list[str]:
        """Read the files; returns a line for each cell that has changed since the last look."""
        started = time.monotonic()
        earlier, self.states = self.states, self.overview.look(self._wanted)
        if earlier:
            self.board.take(self.states)
        else:
            self.board.begin(self.cells, self.states)
        self._cost = time.monotonic() - started
        return [self._line(c) for c in self.cells if earlier and _moved(earlier[c.id], self.states[c.id])]

    def pause(self, every: float) -> float:
        """Seconds to the next look."""
        return max(every, COST_FACTOR * self._cost)

    def is_over(self) -> bool:
        """Whether every cell is done."""
        return all(s.state == DONE for s in self.states.values())

    def _line(self, cell: Cell) -> str:
        status, row = self.states[cell.id], self.board.rows[cell.id]
        if status.state not in LIVE:
            return f"{cell.slug}: {status.text()}"
        numbers = f"accuracy {number(row.accuracy)}  entropy {number(row.entropy)}"
        return f"{cell.slug}: {status.text()}  {numbers}  left {duration(self.board.left(row))}"


def _moved(before: Status, now: Status) -> bool:
    return (before.state, before.step, before.attempt) != (now.state, now.step, now.attempt)


def _plain(watcher: Watcher, console: Console, every: float, *, once: bool) -> None:
    console.print(table(watcher.board, MOST_LINES))
    while not once and not watcher.is_over():
        time.sleep(watcher.pause(every))
        lines = watcher.look()
        for line in lines:
            say(console, line)
        if lines:
            left = watcher.board.total_left()
            say(console, watcher.board.summary() + (f" · time left {duration(left)}" if left else ""))


def _live(watcher: Watcher, console: Console, every: float) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(table(watcher.board, rows_that_fit(console), HINT), refresh=True)
            if watcher.is_over():
                return
            time.sleep(watcher.pause(every))
            watcher.look()

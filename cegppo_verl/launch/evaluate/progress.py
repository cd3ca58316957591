"""How far an evaluation is: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cegppo_verl.evaluation.answers import Record
from cegppo_verl.launch.board import duration
from cegppo_verl.launch.terminal_text import say

LINE_SECONDS = 15.0


class Shown:
    """Counts answers.

    Args:
        total: wanted in all. known: recorded before.
    """

    def __init__(self, console: Console, total: int, known: int) -> None:
        self.total, self.done, self.tokens = total, known, 0
        self._console, self._known = console, known
        self._started = self._said = time.monotonic()
        self._first: int | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> Shown:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            rest = (TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
            self._bar = Progress(*columns, *rest, console=self._console, speed_estimate_period=600)
            self._bar.start()
            start = "loading the model"
            self._task = self._bar.add_task(start, total=self.total, completed=self.done, speed="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, records: Sequence[Record]) -> None:
        """These are on the disk now."""
        if self._first is None:  # loading is over: speed is measured from here
            self._first = len(records)
            self._started = time.monotonic()
        else:
            self.tokens += sum(row["tokens"] for row in records)
        self.done += len(records)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description="answers", speed=self._speed())
        elif time.monotonic() - self._said >= LINE_SECONDS or self.done == self.total:
            self._said = time.monotonic()
            say(self._console, self.line())

    def line(self) -> str:
        """Answers, tokens per second, time left."""
        new = self.done - self._known - (self._first or 0)
        left = (self.total - self.done) * (time.monotonic() - self._started) / new if new else None
        return f"{self.done} of {self.total} answers  {self._speed()}  left {duration(left)}"

    def _speed(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{self.tokens / seconds:.0f} tokens/s" if self.tokens and seconds > 1 else ""

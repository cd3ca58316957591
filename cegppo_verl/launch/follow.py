"""Follows one attempt while it runs: new steps, memory, stall, completion."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cegppo_verl.launch import processes
from cegppo_verl.launch.causes import Cause, cause_of
from cegppo_verl.launch.local import Handle
from cegppo_verl.records import progress
from cegppo_verl.records.progress import LoggedStep
from cegppo_verl.records.rundir import Attempt, RunDir

POLL_SECONDS = 0.25
MEMORY_SECONDS = 5.0
SHUTDOWN_SECONDS = 60.0


@dataclass(frozen=True)
class Limits:
    """When silence counts as a stall, in seconds.

    Attributes:
        startup: from the start to the first logged step, and at least so long to the second.
        factor, least: after that, ``max(least, factor × median time between steps)`` without a new step.
    """

    startup: float = 900.0
    factor: float = 10.0
    least: float = 300.0


@dataclass
class Follower:
    """Watches the files and processes of one attempt.

    Args:
        on_step: called once for each newly logged line, in order.
        on_tick: called at each look, for a live display.
    """

    run: RunDir
    cell: dict[str, Any]
    attempt: Attempt
    handle: Handle
    limits: Limits
    on_step: Callable[[LoggedStep], None]
    on_tick: Callable[[], None]
    peak_memory: int = 0
    _seen: int = 0
    _newest: int = 0
    _times: list[float] = field(default_factory=list)
    _last_sign: float = field(default_factory=time.monotonic)
    _last_memory: float = 0.0
    _size: int = -1

    def follow(self) -> Cause | None:
        """Return when the attempt is over: None when the cell is done, else the cause."""
        while self.handle.poll() is None:
            self._look()
            if self._is_complete():
                self._let_it_finish()
                return None
            if (silence := self._stalled()) is not None:
                self.handle.cancel()
                return Cause(f"stalled: no new step for {silence:.0f} s", retry=True)
            time.sleep(POLL_SECONDS)
        self._look()
        self.handle.sweep()
        if self._is_complete():
            return None
        return cause_of(self.attempt.log_file, self.handle.poll())

    def _look(self) -> None:
        self._read_steps()
        self._measure_memory()
        self.on_tick()

    def _read_steps(self) -> None:
        """Report lines that are new since the last look."""
        size = self.attempt.metrics_file.stat().st_size if self.attempt.metrics_file.exists() else -1
        if size == self._size:
            return
        self._size = size
        steps = progress.read_steps(self.attempt.metrics_file)
        for step in steps[self._seen :]:
            now = time.monotonic()
            self._times.append(now - self._last_sign)
            self._last_sign = now
            self._newest = max(self._newest, step.step if progress.is_training_step(step) else 0)
            self.on_step(step)
        self._seen = len(steps)

    def _measure_memory(self) -> None:
        if time.monotonic() - self._last_memory >= MEMORY_SECONDS:
            self._last_memory = time.monotonic()
            self.peak_memory = max(self.peak_memory, processes.proportional_memory(self.handle.processes()))

    def _is_complete(self) -> bool:
        # The cheap question first: the other one reads all files of the run, four times a second.
        reached_end = self._newest >= self.cell["settings"]["total_steps"]
        return reached_end and progress.missing(self.run, self.cell) is None

    def _let_it_finish(self) -> None:
        """Everything is recorded. A driver that hangs or crashes while shutting down changes nothing."""
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while self.handle.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._look()
        self.handle.cancel() if self.handle.poll() is None else self.handle.sweep()

    def _stalled(self) -> float | None:
        """Seconds of silence, if they are beyond the limit."""
        silence = time.monotonic() - self._last_sign
        return silence if silence > self._limit() else None

    def _limit(self) -> float:
        """Seconds. Start-up is no step: it says nothing of the pace, unless there is nothing better."""
        if len(self._times) < 2:
            return max(self.limits.startup, self.limits.factor * sum(self._times))
        ordered = sorted(self._times[1:])
        return max(self.limits.least, self.limits.factor * ordered[len(ordered) // 2])

"""Follows one attempt while it runs: new steps, memory, stall, early stop, completion."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil

from cegppo_verl.launch import processes
from cegppo_verl.launch.causes import Cause, Kind, cause_of
from cegppo_verl.launch.early_stop import EarlyStop
from cegppo_verl.records import marks, progress
from cegppo_verl.records.progress import LoggedStep
from cegppo_verl.records.rundir import Attempt, RunDir

POLL_SECONDS = 0.25
MEMORY_SECONDS = 5.0
MEMORY_SHARE = 0.005  # of a core, at most, for asking fifty processes how much memory each has
HEARTBEAT_SECONDS = 15.0
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


@dataclass(frozen=True)
class Stopped:
    """The attempt was ended on purpose, by a rule of the grid or by a person; it is not to be tried again.

    Attributes:
        by_rule: a rule of the grid ended it.
    """

    text: str
    by_rule: bool


def memory_pause(cost: float) -> float:
    """Seconds until the next look at a run's memory, when the last one took ``cost`` seconds of a core."""
    return max(MEMORY_SECONDS, cost / MEMORY_SHARE)


class Handle(Protocol):
    """A running driver, as ``driver.Handle`` is one."""

    def poll(self) -> int | None:
        """Exit code, None while it runs."""

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to the attempt."""

    def cancel(self, grace: float = 5.0) -> None:
        """End it, in order."""

    def sweep(self, grace: float = 5.0) -> None:
        """End what it left behind."""


@dataclass
class Follower:
    """Watches the files and processes of one attempt.

    Args:
        on_step: called once for each newly logged line, in order.
        on_tick: called at each look.
        early_stop: the grid's rules.
    """

    run: RunDir
    cell: dict[str, Any]
    attempt: Attempt
    handle: Handle
    limits: Limits
    on_step: Callable[[LoggedStep], None] = lambda step: None
    on_tick: Callable[[], None] = lambda: None
    early_stop: EarlyStop = field(default_factory=lambda: EarlyStop([]))
    peak_memory: int = 0
    _seen: int = 0
    _newest: int = 0
    _times: list[float] = field(default_factory=list)
    _last_sign: float = field(default_factory=time.monotonic)
    _next_memory: float = 0.0
    _last_beat: float = -HEARTBEAT_SECONDS
    _size: int = -1
    _rule: str | None = None

    def follow(self) -> Cause | Stopped | None:
        """Return when the attempt is over: None when the cell is done, else why not."""
        while self.handle.poll() is None:
            self._look()
            if self._is_complete():
                self._let_it_finish()
                return None
            if (ending := self._stopped() or self._stall()) is not None:
                self.handle.cancel()
                return ending
            time.sleep(POLL_SECONDS)
        self._look()
        self.handle.sweep()
        if self._is_complete():
            return None
        return self._stopped() or cause_of(self.attempt.log_file, self.handle.poll())

    def _look(self) -> None:
        self._read_steps()
        self._measure_memory()
        self._beat()
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
            self._rule = self._rule or self.early_stop.see(step)
            self.on_step(step)
        self._seen = len(steps)

    def _measure_memory(self) -> None:
        """Seldom where it is dear: the kernel walks every page of a process and holds it up meanwhile."""
        if time.monotonic() < self._next_memory:
            return
        used = time.thread_time()
        self.peak_memory = max(self.peak_memory, processes.proportional_memory(self.handle.processes()))
        self._next_memory = time.monotonic() + memory_pause(time.thread_time() - used)

    def _beat(self) -> None:
        """A sign of life for readers on other machines, where the lock may not be seen."""
        if time.monotonic() - self._last_beat >= HEARTBEAT_SECONDS:
            self._last_beat = time.monotonic()
            with contextlib.suppress(OSError):  # a full disk must not end a run that may still be saved
                self.attempt.alive_file.write_text(f"{socket.gethostname()}\n")

    def _is_complete(self) -> bool:
        # The cheap question first: the other one reads all files of the run, four times a second.
        reached_end = self._newest >= self.cell["settings"]["total_steps"]
        return reached_end and progress.missing(self.run, self.cell) is None

    def _let_it_finish(self) -> None:
        """Everything is recorded. A driver that hangs or crashes while shutting down changes nothing."""
        self._next_memory = 0.0
        self._measure_memory()  # all of it is still there
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while self.handle.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._look()
        self.handle.cancel() if self.handle.poll() is None else self.handle.sweep()

    def _stopped(self) -> Stopped | None:
        if self._rule is not None:
            return Stopped(self._rule, by_rule=True)
        asked = marks.stop_request(self.run)
        if asked is None:
            return None
        why = f": {asked['why']}" if asked.get("why") else ""
        return Stopped(f"stopped by {asked.get('by', 'a person')}{why}", by_rule=False)

    def _stall(self) -> Cause | None:
        silence = self._stalled()
        return None if silence is None else Cause(f"stalled: no new step for {silence:.0f} s", Kind.STALL)

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

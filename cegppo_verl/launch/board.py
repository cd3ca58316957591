"""The rows of a grid and what follows from them: time left, GPUs in use, GPU-hours.

Filled from the runner's events or from files alone; cells may run side by side.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import gpus_of
from cegppo_verl.records.facts import moment
from cegppo_verl.records.metric_digest import ACCURACY, ENTROPY, SCORE, shown, step_seconds
from cegppo_verl.records.progress import LoggedStep, is_training_step
from cegppo_verl.records.status import DONE, LIVE, PLANNED, QUEUED, RUNNING, STATES, Status

OPEN = (PLANNED, QUEUED, *LIVE)
MANY, MANY_SECONDS = 500, 10.0  # of more rows, the time left is worked out no oftener than that


@dataclass
class Row:
    """What is shown of one cell.

    Attributes:
        started: when this process saw the attempt begin, monotonic; None for what it knows from files.
        step_seconds: of this attempt's steps, as far as they were seen.
        pace: seconds per step from the files, for a cell whose steps were not seen.
        spent: seconds of earlier attempts.
        ended: when it was seen to end, seconds since the epoch.
    """

    cell: Cell
    state: str
    step: int
    last: dict[str, float] = field(default_factory=dict)
    started: float | None = None
    phase: str = ""
    step_seconds: list[float] = field(default_factory=list)
    pace: float | None = None
    seconds: float = 0.0
    spent: float = 0.0
    ended: float | None = None

    @property
    def accuracy(self) -> float | None:
        """Of the last validation, mean over benchmarks."""
        return self.last.get(ACCURACY)

    @property
    def entropy(self) -> float | None:
        """Of the last step."""
        return self.last.get(ENTROPY)

    @property
    def train_score(self) -> float | None:
        """Mean reward of the last training batch."""
        return self.last.get(SCORE)

    @property
    def slots(self) -> int:
        """GPUs that it occupies; on the CPU platform logical ones."""
        return catalog.scale(self.cell.scale).hardware.gpus

    def update(self, step: LoggedStep) -> None:
        """Take over what a logged line says."""
        self.phase = ""
        if is_training_step(step):
            self.step = step.step
            self.step_seconds.append(step_seconds(step.data))
        self.last |= shown(step.data)

    def take(self, status: Status) -> None:
        """Take over what the files say."""
        self.state, self.step, self.phase = status.state, status.step, status.why or ""
        self.last, self.pace, self.spent = dict(status.last), status.pace, status.seconds
        self.ended = None if status.state in LIVE else moment(status.since)
        self.started, self.step_seconds = None, []

    def begin(self, resume_from: int) -> None:
        """An attempt starts now."""
        self.state, self.started, self.step, self.step_seconds = RUNNING, time.monotonic(), resume_from, []
        self.phase = f"resuming from step {resume_from}" if resume_from else "starting up"

    def finish(self, status: Status, cause: str | None) -> None:
        """The attempt is over."""
        self.seconds = time.monotonic() - self.started if self.started is not None else 0.0
        self.spent = max(status.seconds, self.spent + self.seconds)
        self.state, self.step, self.phase = status.state, status.step, cause or ""
        self.started, self.ended = None, time.time()

    def per_step(self) -> float | None:
        """Mean seconds per step of this attempt, evaluations included; None before the first."""
        return sum(self.step_seconds) / len(self.step_seconds) if self.step_seconds else self.pace

    def used(self) -> float:
        """Seconds of all attempts, the running one included."""
        running = time.monotonic() - self.started if self.started is not None else 0.0
        return self.spent + running


@dataclass
class Board:
    """All rows by cell id."""

    rows: dict[str, Row] = field(default_factory=dict)
    startup: float = 40.0  # until the first cell has shown its own
    _most_slots: int = 0
    _left: float | None = None
    _left_at: float = float("-inf")

    def begin(self, cells: Sequence[Cell], states: Mapping[str, Status]) -> None:
        """Fill the board."""
        self.rows = {c.id: Row(c, PLANNED, 0) for c in cells}
        self.take(states)

    def take(self, states: Mapping[str, Status]) -> None:
        """Take over what the files say."""
        for identity, status in states.items():
            self.rows[identity].take(status)

    def left(self, row: Row, paces: Mapping[str, float] | None = None) -> float | None:
        """Seconds left for a cell, by its own pace, else by that of the others at its scale."""
        if row.state == DONE:
            return 0.0
        own = row.per_step()
        pace = own if own is not None else (self.paces() if paces is None else paces).get(row.cell.scale)
        if pace is None:
            return None
        steps = row.cell.settings.total_steps - row.step
        stepping = row.step_seconds or (row.state in LIVE and row.started is None and row.pace is not None)
        return steps * pace + (0.0 if stepping else self.startup)

    def paces(self) -> dict[str, float]:
        """Seconds per step by scale, mean over the cells that have shown theirs."""
        found: dict[str, list[float]] = {}
        for row in self.rows.values():
            if (pace := row.per_step()) is not None:
                found.setdefault(row.cell.scale, []).append(pace)
        return {scale: sum(values) / len(values) for scale, values in found.items()}

    def total_left(self) -> float | None:
        """Seconds left for the grid, by the most GPUs it has had; None while a pace is unknown."""
        if len(self.rows) > MANY and time.monotonic() - self._left_at < MANY_SECONDS:
            return self._left
        self._left, self._left_at = self._work_out_left(), time.monotonic()
        return self._left

    def _work_out_left(self) -> float | None:
        paces = self.paces()
        parts = [(self.left(r, paces), r.slots, r.state) for r in self.rows.values() if r.state in OPEN]
        known = [(seconds, slots, state) for seconds, slots, state in parts if seconds is not None]
        if not parts or len(known) < len(parts):
            return None
        running = [(seconds, slots) for seconds, slots, state in known if state in LIVE]
        waiting = [(seconds, slots) for seconds, slots, state in known if state not in LIVE]
        self._most_slots = max(self._most_slots, sum(slots for _, slots in running))
        return makespan(running, waiting, self._most_slots)

    def counts(self) -> dict[str, int]:
        """Cells by state, in the order of a life."""
        found = Counter(row.state for row in self.rows.values())
        return {state: found[state] for state in STATES if found[state]}

    def live(self) -> list[Row]:
        """Rows of cells that run, stalled ones included."""
        return [row for row in self.rows.values() if row.state in LIVE]

    def summary(self) -> str:
        """One line: cells by state, GPUs in use, hours spent."""
        words = [f"{count} {state}" for state, count in self.counts().items()]
        return ", ".join(words) + "".join(f" · {part}" for part in self._resources())

    def _resources(self) -> list[str]:
        rows, live = list(self.rows.values()), self.live()
        gpus, gpu_hours = (
            sum(gpus_of(r.cell) for r in live),
            sum(gpus_of(r.cell) * r.used() for r in rows) / 3600,
        )
        machine_seconds = sum(r.used() for r in rows if not gpus_of(r.cell))
        parts = [f"GPUs in use {gpus}"] if gpus else []
        parts += [f"GPU-hours {gpu_hours:,.1f}"] if gpu_hours else []
        return parts + ([f"run time on CPUs {duration(machine_seconds)}"] if machine_seconds else [])

    def worth_showing(self, most: int) -> list[Row]:
        """Up to ``most`` rows, in the grid's order: running, then failed and stopped, then newly ended."""
        rows = list(self.rows.values())
        if len(rows) <= most:
            return rows
        chosen = {id(row) for row in heapq.nsmallest(most, rows, key=_rank)}
        return [row for row in rows if id(row) in chosen]


def _rank(row: Row) -> tuple[int, float]:
    if row.state in LIVE:
        return 0, 0.0
    if row.state not in OPEN and row.state != DONE:
        return 1, -(row.ended or 0.0)
    if row.state == DONE and row.ended is not None:
        return 2, -row.ended
    return (3 if row.state == QUEUED else 4), 0.0


def makespan(running: Iterable[tuple[float, int]], waiting: Iterable[tuple[float, int]], slots: int) -> float:
    """Seconds until everything is over when ``waiting`` starts longest first as ``slots`` become free.

    Args:
        running, waiting: (seconds, slots) each; one that needs more than ``slots`` counts as fitting alone.
    """
    ends = [(seconds, need) for seconds, need in running]
    heapq.heapify(ends)
    queue = sorted(waiting, reverse=True)
    capacity = max([slots, 1, *(need for _, need in queue)])
    free, now = capacity - sum(need for _, need in ends), 0.0
    for seconds, need in queue:
        while free < need and ends:
            now, back = heapq.heappop(ends)
            free += back
        heapq.heappush(ends, (now + seconds, need))
        free -= need
    return max((end for end, _ in ends), default=0.0)


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

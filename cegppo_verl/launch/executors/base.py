"""What the runner asks of an executor. It carries attempts to a place; it decides nothing.

What is submitted is always the same: ``python -m cegppo_verl.launch.node RUN_DIR`` on the head of the cell's
allocation, with the run directory on storage that runner and nodes share. The node side claims the attempt,
resumes, follows and records it. So progress and outcome are read from files, and an executor is asked only
whether its scheduler still has the job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.records.rundir import RunDir

NODE = ("-m", "cegppo_verl.launch.node")


@dataclass(frozen=True)
class Need:
    """What a cell occupies while it runs.

    Attributes:
        nodes, gpus_per_node: of the scale; on the CPU platform a "GPU" is a logical resource.
        platform: "cpu" or "cuda".
        hours: expected wall-clock time, None when nothing is known.
    """

    nodes: int
    gpus_per_node: int
    platform: str
    hours: float | None = None

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True)
class Task:
    """One submission of a cell.

    Attributes:
        name: ``cegppo-<cell id>-<place>-<n>``, chosen by the runner before it submits, unique per submission:
            the job is found by it even if the runner died between submitting and writing the scheduler's id
            down.
        command: arguments after the interpreter, ``-m cegppo_verl.launch.node <absolute run directory>``.
        environment: variables that the node side must see, beyond those of the cluster's profile.
        priority: larger goes first; passed on where the scheduler has priorities.
        fresh: nothing was ever handed over under this name from the run directory as it is now. A job of the
            name that has ended is then of a folder that was here before and has been removed.
    """

    name: str
    cell: Cell
    run: RunDir
    need: Need
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    fresh: bool = False


class JobState(StrEnum):
    """What the scheduler says of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"  # or never heard of, or forgotten: it will do nothing more
    UNKNOWN = "unknown"  # the scheduler does not answer: nothing may be concluded


@dataclass(frozen=True)
class JobStatus:
    """A job at its scheduler.

    Attributes:
        reason: the scheduler's own words, e.g. ``NODE_FAIL`` or ``OUT_OF_MEMORY``; None without any.
        exit_code: of the node side, where the scheduler knows it.
    """

    state: JobState
    reason: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class Capacity:
    """GPUs per node: all of them, and those that no job of anybody uses now."""

    total: tuple[int, ...]
    free: tuple[int, ...]


class SubmitError(UserError):
    """The scheduler did not take a job. ``passing``: the same call may work in a while."""

    def __init__(self, message: str, *, passing: bool, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.passing = passing


class NameTakenError(SubmitError):
    """A job of this name has ended before the run directory was made: the next number is to be tried."""

    def __init__(self, name: str) -> None:
        hint = "remove that job from the scheduler's list, or wait until it is forgotten"
        super().__init__(f"'{name}' was a job of an earlier folder of this path", passing=True, hint=hint)


class Executor(Protocol):
    """Carries attempts to a place. All calls come from one thread and must return within seconds."""

    name: ClassVar[str]
    detached: ClassVar[bool]  # jobs outlive the runner; a later runner finds them by name

    def check(self, tasks: Sequence[Task]) -> None:
        """Before anything is written: is the scheduler there, can every task ever fit?

        Raises:
            UserError: not reachable, not installed, or a task that will never fit.
        """

    def files(self, task: Task) -> dict[str, str]:
        """Exactly what :meth:`submit` would hand over, file name → text. Pure: for ``--dry-run``."""

    def submit(self, task: Task) -> str:
        """Hand a task over and return the scheduler's id. A name it already has is not submitted again.

        Raises:
            NameTakenError: the task is fresh, and a job of its name has ended.
            SubmitError: refused.
        """

    def statuses(self, names: Sequence[str]) -> dict[str, JobStatus]:
        """The state of each, by task name, in one question to the scheduler."""

    def cancel(self, name: str) -> None:
        """Ask for an orderly end (SIGTERM first); returns without waiting. Unknown names are ignored."""

    def capacity(self) -> Capacity | None:
        """Room now; None where the scheduler queues by itself."""

    def close(self) -> None:
        """Release what the executor itself holds; detached jobs go on."""

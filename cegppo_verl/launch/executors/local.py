"""The local executor: cells as processes of this machine, each with a private Ray cluster."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog, trainers
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import driver, jobs, processes
from cegppo_verl.launch.driver import Interpreter
from cegppo_verl.launch.environment_checks.accelerators import gpu_names
from cegppo_verl.launch.executors.base import Capacity, JobState, JobStatus, Task
from cegppo_verl.launch.warm.handle import WarmInterpreter

SUBMISSION = "CEGPPO_SUBMISSION"  # in the environment of the node side: a later runner finds it by its name
CLOSING_SECONDS = 90.0  # for attempts to end in order
NODE_LOG = "node.log"


class LocalSettings(Protocol):
    """What of a local profile is read here."""

    @property
    def gpus(self) -> int | None:
        """GPUs to use; None takes all."""

    @property
    def max_jobs(self) -> int | None:
        """Most cells at once."""

    @property
    def python(self) -> str:
        """The interpreter."""

    @property
    def setup(self) -> list[str]:
        """Shell lines before it."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables for every attempt."""


@dataclass(frozen=True)
class Defaults:
    """Of a machine that no profile describes."""

    gpus: int | None = None
    max_jobs: int | None = None
    python: str = sys.executable
    setup: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class _Started:
    process: subprocess.Popen[bytes]
    task: Task
    gpus: tuple[int, ...] = field(default=())


class LocalExecutor:
    """Runs cells on this machine; on a CPU one at a time, on GPUs as many as fit.

    Args:
        profile: ``gpus`` (None: those that nvidia-smi shows) and ``max_jobs``.
        warm_log: where a warm server for CPU cells writes; None starts every interpreter cold.
    """

    name: ClassVar[str] = "local"
    detached: ClassVar[bool] = False

    def __init__(self, profile: LocalSettings | None = None, warm_log: Path | None = None) -> None:
        self.profile = profile or Defaults()
        self.warm_log = warm_log
        self._started: dict[str, _Started] = {}
        self._warm: dict[str, WarmInterpreter] = {}
        self._default_slots = 1
        self._gpus = self.profile.gpus if self.profile.gpus is not None else len(gpu_names())

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse what this machine can never hold; of cells with one thread each, it runs one per core."""
        if all(catalog.scale(task.cell.scale).trainer == trainers.REFERENCE for task in tasks):
            self._default_slots = len(os.sched_getaffinity(0))
        for task in tasks:
            need = task.need
            if need.nodes > 1:
                hint = "use --executor slurm, ray or kuberay, or a smaller scale"
                raise UserError(f"{task.cell.slug} needs {need.nodes} nodes, this is one machine", hint=hint)
            if need.platform == "cuda" and need.gpus > self._gpus:
                hint = "use a cluster (--executor), or a smaller scale"
                raise UserError(
                    f"{task.cell.slug} needs {need.gpus} GPUs, this machine has {self._gpus}", hint=hint
                )

    def files(self, task: Task) -> dict[str, str]:
        """The command of the node side."""
        return {"command": shlex.join(self._command(task))}

    def _command(self, task: Task) -> list[str]:
        plain = [self.profile.python, *task.command]
        if not self.profile.setup:
            return plain
        return ["bash", "-c", "\n".join([*self.profile.setup, f"exec {shlex.join(plain)}"])]

    def interpreter(self, cell: Cell) -> Interpreter:
        """What runs the cell's driver: a fork of a warm server on the CPU, else a fresh interpreter.

        One server per environment: it imports under it. It starts importing at the first call.
        """
        if self.warm_log is None or self._slots() > 1 or catalog.scale(cell.scale).platform != "cpu":
            return Interpreter()
        environment = jobs.platform_environment(cell)
        key = repr(sorted(environment.items()))
        if key not in self._warm:
            self.warm_log.parent.mkdir(parents=True, exist_ok=True)
            whole = {**os.environ, **driver.import_path(), **environment}
            self._warm[key] = WarmInterpreter(whole, self.warm_log)
        server = self._warm[key]
        return Interpreter(str(server.executable), server.process.pid)

    def submit(self, task: Task) -> str:
        """Start the node side; its own messages go to ``node.log`` in the run directory."""
        if task.name in self._started:
            return str(self._started[task.name].process.pid)
        gpus = self._choose(task)
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {}
        with (task.run.path / NODE_LOG).open("ab") as log:
            process = subprocess.Popen(
                self._command(task),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    **driver.import_path(),
                    **task.environment,
                    **self.profile.environment,
                    **visible,
                    SUBMISSION: task.name,
                },
                # Ctrl-C reaches the runner alone, which then ends the attempts in order.
                start_new_session=True,
                preexec_fn=driver.end_with_parent if sys.platform == "linux" else None,
            )
        self._started[task.name] = _Started(process, task, gpus)
        return str(process.pid)

    def statuses(self, names: Sequence[str]) -> dict[str, JobStatus]:
        """Of our own processes by their exit, of a former runner's by the name in their environment."""
        return {name: self._status(name) for name in names}

    def _status(self, name: str) -> JobStatus:
        started = self._started.get(name)
        if started is None:
            alive = bool(processes.marked(name, SUBMISSION))
            return JobStatus(JobState.RUNNING if alive else JobState.ENDED)
        code = started.process.poll()
        return JobStatus(JobState.RUNNING) if code is None else JobStatus(JobState.ENDED, exit_code=code)

    def cancel(self, name: str) -> None:
        """SIGTERM to the node side."""
        started = self._started.get(name)
        if started is not None and started.process.poll() is None:
            started.process.terminate()

    def capacity(self) -> Capacity:
        """One node; without GPUs its logical ones allow one cell at a time."""
        running = self._running()
        if self._gpus:
            used = sum(len(one.gpus) for one in running)
            limit = self.profile.max_jobs
            full = limit is not None and len(running) >= limit
            return Capacity((self._gpus,), (0 if full else self._gpus - used,))
        return Capacity((self._slots(),), (max(0, self._slots() - len(running)),))

    def _slots(self) -> int:
        """Cells at once without a GPU: two on one small machine only slow each other down."""
        return self.profile.max_jobs or self._default_slots

    def counts_gpus(self) -> bool:
        """Whether capacity is counted in GPUs; without any it is counted in cells."""
        return self._gpus > 0

    def _running(self) -> list[_Started]:
        return [one for one in self._started.values() if one.process.poll() is None]

    def _choose(self, task: Task) -> tuple[int, ...]:
        if task.need.platform != "cuda":
            return ()
        used = {gpu for one in self._running() for gpu in one.gpus}
        return tuple(gpu for gpu in range(self._gpus) if gpu not in used)[: task.need.gpus]

    def close(self) -> None:
        """End what still runs, in order, then the warm servers."""
        for name in self._started:
            self.cancel(name)
        deadline = time.monotonic() + CLOSING_SECONDS
        for one in self._started.values():
            try:
                one.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
        for server in self._warm.values():
            server.close()
        self._warm.clear()

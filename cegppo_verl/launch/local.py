"""The local executor: one attempt is one driver process with a private Ray cluster on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cegppo_verl.launch import processes
from cegppo_verl.launch.warm.handle import WarmInterpreter


@dataclass(frozen=True)
class Job:
    """What to execute.

    Attributes:
        arguments: arguments after the interpreter, ``-m module overrides…``.
        environment: added to this process's environment.
        log: receives standard output and error.
        mark: unique name of the attempt; all its processes are found by it.
        directory: working directory.
    """

    arguments: list[str]
    environment: dict[str, str]
    log: Path
    mark: str
    directory: Path


@dataclass
class Handle:
    """A job that was started."""

    job: Job
    process: subprocess.Popen[bytes]
    warm_pid: int | None
    started: float = field(default_factory=time.time)

    def poll(self) -> int | None:
        """Exit code of the driver, or None while it runs."""
        return self.process.poll()

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to the attempt now."""
        own = processes.marked(self.job.mark)
        if self.warm_pid is not None:
            own += processes.descendants(self.warm_pid)
        return processes.with_descendants(own)

    def cancel(self, grace: float = 5.0) -> None:
        """End the driver, wait for Ray to go down with it, then end what is left."""
        if self.process.poll() is None:
            self.process.terminate()
        self.sweep(grace)
        self.process.wait()

    def sweep(self, grace: float = 5.0) -> None:
        """End whatever the attempt left behind."""
        deadline = time.monotonic() + grace
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.2)
        processes.end(self.processes(), grace=1.0)


class LocalExecutor:
    """Runs one job at a time on this machine.

    Args:
        environment: environment of every job on this platform.
        warm_log: where the warm server writes; None starts every process cold.
    """

    def __init__(self, environment: Mapping[str, str], warm_log: Path | None) -> None:
        self.environment = {**os.environ, **environment}
        self.warm: WarmInterpreter | None = None
        if warm_log is not None:
            self.warm = WarmInterpreter(self.environment, warm_log)

    def submit(self, job: Job) -> Handle:
        """Start a job and return at once (after the warm server has finished importing)."""
        warm = self.warm is not None and self.warm.wait()
        executable = str(self.warm.executable) if warm and self.warm else sys.executable
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                [executable, *job.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=job.directory,
                env={**self.environment, **job.environment, processes.MARK: job.mark},
                # Its own session: Ctrl-C reaches the runner alone, which then ends the attempt in order.
                start_new_session=True,
            )
        return Handle(job, process, self.warm.process.pid if warm and self.warm else None)

    def close(self) -> None:
        """End the warm server."""
        if self.warm is not None:
            self.warm.close()

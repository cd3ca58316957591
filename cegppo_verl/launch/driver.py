"""The driver of an attempt: a process with everything that it starts, found by the attempt's mark."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cegppo_verl.launch import processes

_LIBC = ctypes.CDLL(None)  # loaded here: after a fork there must be no import
_PR_SET_PDEATHSIG = 1
WARM_PATIENCE = 300.0


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
    """A job that was started.

    Attributes:
        server: whose forks the job's processes are, with its birth: its number may be another's one day;
            None when they start cold.
    """

    job: Job
    process: subprocess.Popen[bytes]
    server: psutil.Process | None
    started: float = field(default_factory=time.time)

    def poll(self) -> int | None:
        """Exit code of the driver, or None while it runs."""
        return self.process.poll()

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to the attempt now."""
        own = processes.marked(self.job.mark)
        if self.server is not None and self.server.is_running():
            own += processes.descendants(self.server.pid)
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


def end_with_parent() -> None:
    """In a new process: SIGTERM when its parent dies, as a killed parent cannot end it itself."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def import_path() -> dict[str, str]:
    """PYTHONPATH with absolute folders: jobs run in folders of their own."""
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, given.split(os.pathsep)))} if given else {}


@dataclass(frozen=True)
class Interpreter:
    """What runs the driver.

    Attributes:
        path: a stand-in for ``python`` that a warm server answers; None is this process's own interpreter.
        warm_pid: the server's process.
    """

    path: str | None = None
    warm_pid: int | None = None

    def ready(self) -> bool:
        """Wait until the warm server accepts requests; false without one, or when it died."""
        if self.path is None or self.warm_pid is None:
            return False
        deadline = time.monotonic() + WARM_PATIENCE
        while time.monotonic() < deadline and psutil.pid_exists(self.warm_pid):
            if (Path(self.path).parent / "socket").exists():
                return True
            time.sleep(0.05)
        return False


def start(job: Job, environment: Mapping[str, str], interpreter: Interpreter) -> Handle:
    """Start a job and return at once (after the warm server has finished importing)."""
    warm = interpreter.ready()
    executable = interpreter.path if warm and interpreter.path else sys.executable
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            [executable, *job.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=job.directory,
            env={**os.environ, **import_path(), **environment, **job.environment, processes.MARK: job.mark},
            # Its own session: a signal to the parent's group reaches the parent alone, which then ends the
            # attempt in order.
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )
    server = processes.living(interpreter.warm_pid) if warm and interpreter.warm_pid else None
    return Handle(job, process, server)

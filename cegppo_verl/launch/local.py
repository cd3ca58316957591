"""The local executor: one attempt is one driver process with a private Ray cluster on this machine."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cegppo_verl.errors import UserError
from cegppo_verl.launch import processes
from cegppo_verl.launch.warm.handle import WarmInterpreter

_LIBC = ctypes.CDLL(None)  # loaded here: after a fork there must be no import
_PR_SET_PDEATHSIG = 1


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


@contextlib.contextmanager
def machine_to_itself() -> Iterator[None]:
    """Hold the machine for one local runner at a time.

    Two private Ray clusters both number their first job 1, and verl names the socket for weights after it.

    Raises:
        UserError: another local runner is at work here.
    """
    path = Path(tempfile.gettempdir()) / f"cegppo-local-run-{os.getuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _claim(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _claim(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 100, 0).decode().strip()
        hint = "wait for it, or stop it with Ctrl-C there; it keeps what it has recorded"
        raise UserError(
            f"another run is going on on this machine (process {holder})", file=path, hint=hint
        ) from error
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _end_with_runner() -> None:
    """In the new process: SIGTERM when the runner dies, as a killed runner cannot end the driver itself."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _import_path() -> dict[str, str]:
    """PYTHONPATH with absolute folders: jobs run in folders of their own."""
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, given.split(os.pathsep)))} if given else {}


class LocalExecutor:
    """Runs one job at a time on this machine.

    Args:
        environment: environment of every job on this platform.
        warm_log: where the warm server writes; None starts every process cold.
    """

    def __init__(self, environment: Mapping[str, str], warm_log: Path | None) -> None:
        self.environment = {**os.environ, **_import_path(), **environment}
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
                preexec_fn=_end_with_runner if sys.platform == "linux" else None,
            )
        return Handle(job, process, self.warm.process.pid if warm and self.warm else None)

    def close(self) -> None:
        """End the warm server."""
        if self.warm is not None:
            self.warm.close()

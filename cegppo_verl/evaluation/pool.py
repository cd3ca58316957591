"""A few worker processes with a time limit per item; a stuck worker is ended and replaced.

Plain subprocesses and sockets instead of ``multiprocessing``: nothing is forked from a process with threads,
and the caller's ``__main__`` (a Ray worker, a notebook) is not imported again in every child. No signal is
used here, so any thread may ask. ``worker.py`` holds the limits; the deadline here only backs them up.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

from cegppo_verl.evaluation.worker import PATIENCE

WORKER = Path(__file__).with_name("worker.py")
START_SECONDS = 120.0  # importing sympy takes half a second, or much longer on a crowded machine
GRACE = 5.0  # seconds after the worker's own limit
LOOK = 1.0  # seconds after which a waiting thread looks whether there is still somebody
ENDING = 10.0  # seconds to wait for a killed process: one stuck in the kernel must not hold us


class WorkerDiedError(Exception):
    """The child ended without an answer; the next one is at the same line."""


class LineClosedError(WorkerDiedError):
    """The nurse is gone, and with it the whole crew."""


class Line:
    """The connection to one child. Used by one thread at a time."""

    def __init__(self, connection: socket.socket, crew: Crew) -> None:
        self._connection, self.crew = connection, crew
        self._rest = b""
        self._ids = count()

    def ask(self, request: dict[str, Any], seconds: float) -> str:
        """correct, wrong, grader_error, timeout or late, within ``seconds`` of the clock.

        Raises:
            TimeoutError: no answer in time; the whole crew must be ended.
            WorkerDiedError: the child, or (LineClosedError) the crew, ended by itself.
        """
        number, end = next(self._ids), time.monotonic() + seconds
        self._send(json.dumps({"id": number, **request}).encode() + b"\n", seconds)
        while True:
            reply = json.loads(self._line(end))
            if reply["outcome"] == "died":
                raise WorkerDiedError
            if reply["id"] in (None, number):  # another number: the answer to what was given up
                return reply["outcome"]

    def _send(self, message: bytes, seconds: float) -> None:
        self._connection.settimeout(seconds)
        try:
            self._connection.sendall(message)
        except TimeoutError:
            raise
        except OSError as error:
            raise LineClosedError from error

    def _line(self, end: float) -> bytes:
        while b"\n" not in self._rest:
            self._rest += self._receive(end)
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def _receive(self, end: float) -> bytes:
        left = end - time.monotonic()
        self._connection.settimeout(min(max(left, 1e-3), LOOK))
        try:
            chunk = self._connection.recv(65536)
        except TimeoutError:
            if self.crew.process.poll() is not None:  # whoever still holds the other end
                raise LineClosedError from None
            if left <= LOOK:
                raise
            return b""
        except ConnectionError as error:
            raise LineClosedError from error
        if not chunk:
            raise LineClosedError
        return chunk

    def shut(self) -> None:
        """Wake up whoever waits here. The descriptor stays: a closed one could be another's by then."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back; only for the thread that has the line."""
        self._connection.close()


class Crew:
    """One nurse process and its children, one per line."""

    def __init__(self, size: int, seconds: float) -> None:
        self.patience = START_SECONDS + seconds * PATIENCE + GRACE
        pairs = [socket.socketpair() for _ in range(size)]
        theirs = [far.fileno() for _, far in pairs]
        # -P: the folder of the script must not shadow the standard library.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), repr(seconds), *map(str, theirs)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=theirs,
            process_group=0,  # one group, ended as one; Ctrl-C is the caller's business
        )
        for _, far in pairs:
            far.close()
        self.lines = [Line(near, self) for near, _ in pairs]

    def heard(self, seconds: float) -> None:
        """The first answer: from now on nothing waits for an import."""
        self.patience = seconds * PATIENCE + GRACE

    def end(self) -> None:
        """End all its processes and collect the nurse."""
        for line in self.lines:
            line.shut()
        if self.process.returncode is None:  # not collected, so that the number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDING)


class Pool:
    """At most ``size`` workers, started when first needed; any number of threads may ask."""

    def __init__(self, size: int, seconds: float) -> None:
        self._size, self._seconds = size, seconds
        self._reset()
        atexit.register(self.close)

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self._size)
        self._idle: list[Line] = []
        self._crew: Crew | None = None

    def ask(self, request: dict[str, Any]) -> str:
        """correct, wrong, timeout, late or grader_error; an item whose worker just dies gets a second try."""
        if self._owner != os.getpid():
            self._forget()
        with self._slots:
            return self._once(request) or self._once(request) or "grader_error"

    def _once(self, request: dict[str, Any]) -> str | None:
        line, whole = self._take(), False
        try:
            outcome = line.ask(request, line.crew.patience)
            line.crew.heard(self._seconds)
            whole = True
            return outcome
        except TimeoutError:
            return "late"
        except WorkerDiedError as error:
            whole = not isinstance(error, LineClosedError)
            return None
        finally:
            self._give_back(line, whole)

    def _take(self) -> Line:
        with self._lock:
            if self._crew is None:
                self._crew = Crew(self._size, self._seconds)
                self._idle = list(self._crew.lines)
            return self._idle.pop()  # as many lines as slots: there is one

    def _give_back(self, line: Line, whole: bool) -> None:
        with self._lock:
            if line.crew is self._crew and whole:
                self._idle.append(line)
                return
        line.close()
        self._retire(line.crew)

    def _retire(self, crew: Crew | None) -> None:
        """End a crew unless another thread did, and the lines that nobody holds."""
        with self._lock:
            if crew is None or crew is not self._crew:
                return
            idle, self._idle, self._crew = self._idle, [], None
        crew.end()
        for line in idle:
            line.close()

    def _forget(self) -> None:
        """In a forked copy: the crew is the parent's; an open copy of a line would keep orphans alive."""
        lines = self._crew.lines if self._crew is not None else []
        self._reset()
        for line in lines:
            line.close()

    def close(self) -> None:
        """End the workers; the pool can be used again."""
        if self._owner == os.getpid():
            self._retire(self._crew)

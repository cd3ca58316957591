"""A few worker processes with a time limit per item; a stuck worker is killed and replaced.

Plain subprocesses with pipes instead of ``multiprocessing``: nothing is forked from a process with threads,
and the caller's ``__main__`` (a Ray worker, a notebook) is not imported again in every child.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
START_SECONDS = 120.0  # importing sympy takes half a second, or much longer on a crowded machine


class WorkerDiedError(Exception):
    """The process ended without an answer."""


class Worker:
    """One grading process. Used by one thread at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rest = b""
        # -P: the folder of the script must not shadow the standard library.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), repr(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._read(START_SECONDS)
        except BaseException:
            self.kill()
            raise

    def ask(self, request: dict[str, Any]) -> str:
        """The outcome for one item.

        Raises:
            TimeoutError: no answer within the limit; the worker must be killed.
            WorkerDiedError: the process ended by itself.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerDiedError from error
        return self._read(self._seconds)

    def _read(self, seconds: float) -> str:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            poller = select.poll()  # select.select fails on descriptors above 1023
            poller.register(descriptor, select.POLLIN)
            if left <= 0 or not poller.poll(left * 1000):
                raise TimeoutError
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise self._ended()
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)["outcome"]

    def _ended(self) -> Exception:
        return TimeoutError() if self._process.wait() == -signal.SIGALRM else WorkerDiedError()

    def kill(self) -> None:
        """End the process and collect it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


class Pool:
    """At most ``size`` workers, each started when first needed; any number of threads may ask."""

    def __init__(self, size: int, seconds: float) -> None:
        self._size, self._seconds = size, seconds
        self._reset()
        atexit.register(self.close)

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._slots = threading.BoundedSemaphore(self._size)
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()

    def ask(self, request: dict[str, Any]) -> str:
        """correct, wrong, timeout or grader_error; a worker that just dies gets a second try."""
        if self._owner != os.getpid():  # the pipes of a forked copy belong to the parent
            self._reset()
        with self._slots:
            return self._once(request) or self._once(request) or "grader_error"

    def _once(self, request: dict[str, Any]) -> str | None:
        try:
            worker = self._take()
        except (TimeoutError, WorkerDiedError):
            return None
        try:
            outcome = worker.ask(request)
        except (TimeoutError, WorkerDiedError) as error:
            worker.kill()
            return "timeout" if isinstance(error, TimeoutError) else None
        except BaseException:
            worker.kill()
            raise
        self._idle.put(worker)
        return outcome

    def _take(self) -> Worker:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return Worker(self._seconds)

    def close(self) -> None:
        """End the idle workers; the pool can be used again."""
        if self._owner != os.getpid():
            return
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().kill()

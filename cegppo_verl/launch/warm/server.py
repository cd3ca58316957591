"""The fork server: imports once, then forks a warm interpreter for each request.

``python -m cegppo_verl.launch.warm.server --directory DIR --preload mod1,mod2`` writes ``DIR/python`` (the
stand-in executable), listens on ``DIR/socket``, prints ``ready`` and ends, with everything it forked, when
its standard input closes: the runner that started it holds the other end, so nothing outlives a killed
runner.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import os
import random
import selectors
import shlex
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from cegppo_verl.launch.warm import become
from cegppo_verl.launch.warm.client import FIRST_JOB
from cegppo_verl.launch.warm.request import Request, close_all, receive

CLIENT = Path(__file__).with_name("client.py")
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Libraries that start threads while they are imported, and how each is told not to. A fork gets the
# environment of its client, so these reach nobody but the server.
SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


def write_stand_in(directory: Path) -> Path:
    """Write ``DIR/python``, the executable that other programs start instead of the interpreter."""
    path = directory / "python"
    words = [sys.executable, "-I", "-S", str(CLIENT), sys.executable, str(directory / "socket")]
    path.write_text(f'#!/bin/sh\nexec {" ".join(map(shlex.quote, words))} "$@"\n')
    path.chmod(0o755)
    return path


def ray_identity() -> dict[str, str]:
    """What Ray's C++ core reads once, when it is loaded, though raylet sets it for each worker.

    ``JOB_ID``: a private cluster has exactly one job and numbers it 1; a worker of any other job is started
    cold (see the client). ``RAYLET_PID``: Ray's workers end when that process is gone; for forks this server
    takes raylet's place, and the runner sweeps what is left when an attempt ends.
    """
    return {"RAY_JOB_ID": FIRST_JOB, "RAY_RAYLET_PID": str(os.getpid())}


def preload(modules: list[str]) -> None:
    """Import ``modules``; one that cannot be imported is reported and costs only its own warmth."""
    for name in modules:
        started = time.monotonic()
        try:
            importlib.import_module(name)
        except Exception as error:
            print(f"warm: {name}: {error!r}", file=sys.stderr, flush=True)
        else:
            print(f"warm: {name} {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def thread_count() -> int:
    """Threads of this process as the kernel sees them, native ones included."""
    return len(os.listdir("/proc/self/task"))


class Server:
    """Accepts requests, forks, reaps, and reports each fork's end to its client."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.pid = directory, os.getpid()
        self.stand_in = write_stand_in(directory)
        self.selector = selectors.DefaultSelector()
        self.children: dict[int, socket.socket] = {}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / "socket"))
        self.listener.listen(64)
        self.selector.register(self.listener, selectors.EVENT_READ, "listener")
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, "owner")
        self._watch_children()

    def _watch_children(self) -> None:
        """Wake the selector on SIGCHLD through a pipe (no polling, no work inside a handler)."""
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

        def stop(number: int, _frame: object) -> None:
            if os.getpid() == self.pid:
                sys.exit(0)
            signal.signal(number, signal.SIG_DFL)  # a fork that is not released yet: end it, not its siblings
            signal.raise_signal(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        self.selector.register(self.wake_read, selectors.EVENT_READ, "child")

    def serve(self) -> Request | None:
        """Run until the owner goes away (returns None) or, in a fork, until there is something to become."""
        while True:
            for key, _ in self.selector.select():
                if key.data == "owner":
                    return None
                if key.data == "child":
                    self._reap()
                elif key.data == "listener":
                    request = self._accept()
                    if request is not None:
                        return request
                else:
                    self._client_gone(key.data)

    def _accept(self) -> Request | None:
        """Fork for one client. Returns the request in the fork and None in the server."""
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        try:
            request = receive(connection)
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            connection.close()
            return None
        pid = self._fork(request)
        if pid == 0:
            connection.close()
            return request
        close_all(request.received)
        self._register(pid, connection)
        return None

    def _fork(self, request: Request) -> int:
        """A fork of this process, or -1 where forking would not be sound (then the client runs cold)."""
        if thread_count() != 1:
            print("warm: not forking, the server has more than one thread", file=sys.stderr, flush=True)
            return -1
        try:
            return os.fork()
        except OSError as error:  # no memory, or too many processes
            print(f"warm: not forking, {error}", file=sys.stderr, flush=True)
            return -1

    def _register(self, pid: int, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(struct.pack("!q", max(pid, 0)))
        if pid < 0:
            connection.close()
            return
        connection.setblocking(False)
        self.children[pid] = connection
        self.selector.register(connection, selectors.EVENT_READ, pid)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_read, 4096)
        while True:  # children whose client was killed are no longer listed, and have to be reaped too
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._report(pid, os.waitstatus_to_exitcode(status))

    def _report(self, pid: int, code: int) -> None:
        connection = self.children.pop(pid, None)
        if connection is None:
            return
        self.selector.unregister(connection)
        with contextlib.suppress(OSError):
            connection.sendall(struct.pack("!q", code))
        connection.close()

    def _client_gone(self, pid: int) -> None:
        """The stand-in was killed: end its fork too, as killing a real interpreter would have."""
        connection = self.children.get(pid)
        if connection is None:
            return
        try:
            if connection.recv(1):
                return
        except BlockingIOError:  # woken for nothing: the client is there
            return
        except OSError:
            pass  # reset: gone
        self.selector.unregister(connection)
        connection.close()
        del self.children[pid]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def release(self) -> None:
        """In a fork: drop the server's descriptors and signal handlers, and die when it dies."""
        die_with(self.pid)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for connection in self.children.values():
            connection.close()
        self.selector.close()
        self.listener.close()
        close_all([self.wake_read, self.wake_write])

    def end(self) -> None:
        """End everything this server forked, then remove its files."""
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in ("socket", "python"):
            (self.directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: not ours alone
            self.directory.rmdir()  # a killed runner cannot


def die_with(parent: int) -> None:
    """SIGKILL for this process when its parent is gone, however it went: nobody else could find its forks."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Command line of the server; in a fork, the place where the requested program runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--preload", default="")
    options = parser.parse_args()
    os.environ.update({**SINGLE_THREADED, **ray_identity()})
    preload([name for name in options.preload.split(",") if name])
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, every shared page in the forks
    server = Server(options.directory)
    print("ready", flush=True)
    try:
        request = server.serve()
    except SystemExit:
        request = None
    if request is None:
        server.end()
        sys.stderr.flush()
        # Nothing to finalise; tearing down the imported libraries would take a second and complain.
        os._exit(0)
    server.release()
    random.seed()
    become.run(request, server.stand_in)


if __name__ == "__main__":
    main()

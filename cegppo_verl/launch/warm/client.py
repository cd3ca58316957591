"""Stands in for ``python``: asks the warm server for a fork, or becomes the real interpreter.

Runs as ``python -I -S client.py REAL_PYTHON SOCKET ARGS...`` with the standard library only, because its own
start-up time is the cost of every warm process. The fork gets this process's arguments, environment, working
directory and open file descriptors; signals sent here are passed on, and this process ends as the fork ends.
If the server is not there, the real interpreter runs with the same arguments, only slower.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FIRST_JOB = "01000000"  # the only job of a private Ray cluster; Ray's core in the server was loaded with it
MAX_DESCRIPTORS = 200  # Linux passes at most 253 in one message


def is_warmable(arguments: list[str]) -> bool:
    """Whether a fork saves anything: Ray's workers and agents, multiprocessing children, verl's driver."""
    while arguments and arguments[0] in ("-u", "-B", "-E", "-s", "-I"):
        arguments = arguments[1:]
    if not arguments or os.environ.get("RAY_JOB_ID", FIRST_JOB) != FIRST_JOB:
        return False
    if arguments[0] == "-c":
        return len(arguments) > 1 and "multiprocessing" in arguments[1]
    if arguments[0] == "-m":
        return len(arguments) > 1 and arguments[1].startswith(("verl.", "cegppo_verl."))
    return arguments[0].endswith(".py") and "/ray/" in arguments[0]


def open_descriptors() -> list[int]:
    """Inheritable descriptors of this process: 0, 1, 2 and the pipes that multiprocessing hands down."""
    kept = []
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        with contextlib.suppress(OSError):
            if number <= 2 or os.get_inheritable(number):
                kept.append(number)
    return sorted(kept)[:MAX_DESCRIPTORS]


def ignored_signals() -> list[int]:
    """Signals that this process was started to ignore; the fork ignores them, too."""
    return [int(number) for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN]


def ask(connection: socket.socket, arguments: list[str]) -> int | None:
    """Send the request and return the fork's pid, or None when the server refuses."""
    descriptors = open_descriptors()
    umask = os.umask(0o022)
    os.umask(umask)
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "umask": umask,
        "descriptors": descriptors,
        "ignored": ignored_signals(),
    }
    body = json.dumps(request).encode("utf-8", "surrogateescape")
    socket.send_fds(connection, [struct.pack("!I", len(body))], descriptors)
    connection.sendall(body)
    reply = connection.recv(8)
    return struct.unpack("!q", reply)[0] if len(reply) == 8 else None


def wait(connection: socket.socket, pid: int) -> int:
    """Pass signals on to the fork until the server reports its end; return its exit status."""

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in set(FORWARDED) - set(ignored_signals()):
        signal.signal(number, forward)
    status = connection.recv(8)
    return struct.unpack("!q", status)[0] if len(status) == 8 else -signal.SIGKILL


def end_as(code: int) -> None:
    """Exit with the fork's code, or die of the same signal, as the parent expects."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def request_fork(address: str, arguments: list[str]) -> tuple[socket.socket, int | None]:
    """The connection and the fork's pid; no pid when the server is not there or refuses."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        return connection, ask(connection, arguments)
    except OSError:
        return connection, None


def main() -> None:
    """Entry point: ``client.py REAL_PYTHON SOCKET ARGS...``."""
    real_python, address, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
    if is_warmable(arguments):
        connection, pid = request_fork(address, arguments)
        if pid:
            end_as(wait(connection, pid))
    os.execv(real_python, [real_python, *arguments])


if __name__ == "__main__":
    main()

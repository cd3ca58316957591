"""Turns a fresh fork into the program that was asked for."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import runpy
import signal
import sys
import threading
import types
from pathlib import Path
from typing import Protocol


class Wanted(Protocol):
    """The part of a request that this module needs."""

    arguments: list[str]
    environment: dict[str, str]
    directory: str
    umask: int
    descriptors: list[int]
    ignored: list[int]
    received: list[int]


def run(request: Wanted, stand_in: Path) -> None:
    """Take over descriptors, environment and arguments, run the program, and end this process as it ends."""
    move_descriptors(request.received, request.descriptors)
    os.environ.clear()
    os.environ.update(request.environment)
    os.umask(request.umask)
    for number in request.ignored:  # inherited: a background job of a shell has SIGINT ignored
        signal.signal(number, signal.SIG_IGN)
    os.chdir(request.directory)
    adopt_stand_in(stand_in)
    reseed_and_set_threads()
    leave(exit_code_of(request.arguments))


def move_descriptors(received: list[int], wanted: list[int]) -> None:
    """Give each received descriptor the number it had in the client."""
    # Lift them above every wanted number first, so that no move overwrites one that is still to be moved.
    floor = max([*received, *wanted, 2]) + 1
    import fcntl

    lifted = [fcntl.fcntl(number, fcntl.F_DUPFD, floor) for number in received]
    for number in received:
        os.close(number)
    for number, target in zip(lifted, wanted, strict=True):
        os.dup2(number, target, inheritable=True)
        os.close(number)


def adopt_stand_in(stand_in: Path) -> None:
    """Programs started from here start warm as well: Ray and multiprocessing take ``sys.executable``."""
    import multiprocessing

    sys.executable = str(stand_in)
    multiprocessing.set_executable(str(stand_in))


def reseed_and_set_threads() -> None:
    """Undo what forks share: random state, and the server's single-threaded BLAS and OpenMP settings."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        threads = os.environ.get("OMP_NUM_THREADS", "")
        count = int(threads) if threads.isdigit() and int(threads) > 0 else (os.cpu_count() or 1)
        sys.modules["torch"].set_num_threads(count)


def exit_code_of(arguments: list[str]) -> int:
    """Run the program; the exit code that the interpreter would give it, −n if it would die of signal n."""
    try:
        run_program(arguments)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(*sys.exc_info())
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def leave(code: int) -> None:
    """End as a fork should: threads joined, exit handlers run, output flushed, and nothing torn down.

    Releasing everything that the server imported would copy its pages and take seconds.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        signal.raise_signal(-code)
    os._exit(code)


def run_program(arguments: list[str]) -> None:
    """``-c CODE``, ``-m MODULE`` or a script, as the interpreter would run it."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    while arguments and arguments[0] in ("-u", "-B", "-E", "-s", "-I"):
        unbuffered |= arguments[0] == "-u"
        arguments = arguments[1:]
    if unbuffered and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    kind, rest = arguments[0], arguments[1:]
    if kind == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(rest[0], "<string>", "exec", dont_inherit=True), main.__dict__)
    else:
        sys.argv = arguments
        run_script(kind)


def run_script(path: str) -> None:
    """Run a file as ``__main__``; unlike ``runpy.run_path`` the module stays, because Ray pickles from it."""
    sys.path.insert(0, os.path.dirname(path))
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    source = Path(path).read_bytes()  # bytes: the compiler reads a coding line, and no file stays open
    exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)

"""The judge's hold on the candidate's process: start it behind every layer, call it, learn how it ended."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cegppo_verl.evaluation.sandbox import kernel, landlock, layers, privileges, readable, seccomp
from cegppo_verl.evaluation.sandbox.limits import Limits
from cegppo_verl.evaluation.sandbox.runner import READ, WRITE, decode, encode

RUNNER = Path(__file__).with_name("runner.py").read_text()  # before the root changes
FLAGS = ("-s", "-S", "-P", "-B")  # no user or package folders, nothing written
# HASHSEED: the order of sets is the same in every run. One thread for libraries that start their own.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
BROKEN = {"forbidden": "forbidden call", "refused": "not plain data"}  # replies that end the tests


class EndedError(BaseException):
    """The candidate's process is gone or broken; no ``except Exception`` of a test can pass over it."""

    def __init__(self, cause: str, detail: str = "") -> None:
        self.cause, self.detail = cause, detail
        super().__init__(cause)


class RefusedError(Exception):
    """A necessary layer is missing."""


class RaisedError(Exception):
    """The candidate raised something that is no plain built-in exception here."""


@dataclass(frozen=True)
class Place:
    """Where and as whom the candidate runs: its folder, its user id, and what became of the layers so far."""

    folder: str
    user: int
    active: list[str]
    failed: dict[str, str]


def _try(name: str, place: Place, step: Any, *arguments: Any, **keywords: Any) -> None:
    try:
        step(*arguments, **keywords)
    except OSError as error:
        place.failed[name] = str(error)
    else:
        place.active.append(name)


def _shut_in(place: Place, limits: Limits) -> None:
    """Every layer that is kept through exec, in this (forked) process."""
    privileges.become(place.user)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    _try("no capabilities", place, privileges.drop_capabilities)
    _try("no new privileges", place, kernel.prctl, kernel.PR_SET_NO_NEW_PRIVS, 1)
    rules = (readable.trees(), readable.standard_library(), readable.DEVICES, place.folder)
    _try("landlock", place, landlock.restrict, *rules)
    threads = limits.threads if "own user" in place.active else None
    if threads is None and "user namespace" in place.active:
        threads = limits.threads + 2  # counted within the namespace, where launcher and judge are too
    _try("resource limits", place, privileges.limit, limits, processes=threads, files=limits.file_bytes)


def _become_candidate(place: Place, limits: Limits, pipes: tuple[int, int, int]) -> None:
    """In the forked child: everything up to exec; never returns."""
    try:
        os.setsid()
        # High numbers first, so that dup2 onto 0 to 4 cannot hit a pipe that is still needed.
        source, target, output = (fcntl.fcntl(pipe, fcntl.F_DUPFD, 10) for pipe in pipes)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((nothing, 0), (output, 1), (output, 2), (source, READ), (target, WRITE)):
            os.dup2(old, new)
        os.closerange(WRITE + 1, 4096)
        _shut_in(place, limits)
        report = json.dumps({"active": place.active, "failed": place.failed}).encode() + b"\n"
        os.write(WRITE, report)
        environment = {**ENVIRONMENT, "HOME": place.folder, "TMPDIR": place.folder}
        os.chdir(place.folder)
        os.execve(readable.interpreter(), ["python", *FLAGS, "-c", RUNNER], environment)
    finally:
        os._exit(127)


class Candidate:
    """A running candidate. Used by one thread.

    Args:
        place: folder and user.
        limits: what it may use.
        output: descriptor that takes its standard output and error.
    """

    def __init__(self, place: Place, limits: Limits, output: int) -> None:
        self._limits, self._rest = limits, b""
        to_read, self._requests = os.pipe()
        self._replies, to_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _become_candidate(place, limits, (to_read, to_write, output))
        os.close(to_read)
        os.close(to_write)
        self.ended: EndedError | None = None
        self.raised: BaseException | None = None
        self.calls = 0

    def prepare(self, accept_missing: bool) -> list[str]:
        """Wait for the layers, switch the filter on; the active ones.

        Raises:
            RefusedError: a necessary one is missing, and that was not accepted.
            EndedError: the process ended.
        """
        report = self._receive()
        active, failed = report["active"], report["failed"]
        try:
            code = seccomp.program(self.pid).hex()
        except OSError as error:
            code, failed["seccomp"] = "", str(error)
        self._send(code)
        number = self._receive()["filter"]
        if code and number == 0:
            active.append("seccomp")
        failed.setdefault("seccomp", os.strerror(number))
        why = layers.refusal(active, failed)
        if why and not accept_missing:
            raise RefusedError(why)
        return active

    def load(self, code: str, entry_point: str) -> None:
        """Execute the candidate's program; raises what it raised, or EndedError."""
        self._send({"code": code, "entry_point": entry_point})
        self._value(self._receive())

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """The candidate's function; raises what it raised, or EndedError."""
        if self.ended:
            raise self.ended
        self.calls += 1
        self._send(encode((arguments, keywords)))
        return self._value(self._receive())

    def _value(self, reply: Any) -> Any:
        try:
            kind, content = next(iter(reply.items()))
            if kind == "value":
                return decode(content)
            if kind in BROKEN:
                raise self._end(BROKEN[kind], str(content)[:200])
            error = _exception(str(reply["raised"]), str(reply["text"]))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError, StopIteration) as broken:
            raise self._end("not plain data", f"{broken!r:.100}") from None
        self.raised = error
        raise error

    def _send(self, message: Any) -> None:
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._requests, data) :]
        except BrokenPipeError:
            raise self._collect() from None

    def _receive(self) -> Any:
        while b"\n" not in self._rest:
            if len(self._rest) > self._limits.reply_bytes:
                raise self._end("output limit", "a returned value is too long")
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                raise self._collect()
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise self._end("not plain data", "no JSON") from None

    def _end(self, cause: str, detail: str) -> EndedError:
        self.ended = EndedError(cause, detail)
        return self.ended

    def _collect(self) -> EndedError:
        """Why the process closed its pipe."""
        if not _has_ended(self.pid):  # the launcher will kill it: it may be another user than the judge
            return self._end("ended early", "it closed the pipe of the answers")
        _, status, used = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        spent = used.ru_utime + used.ru_stime >= self._limits.cpu_seconds
        return self._end(*_cause(code, spent))


def _has_ended(pid: int, seconds: float = 1.0) -> bool:
    """Whether the process is dead; waits a moment, for pipes close before it is. Does not collect it."""
    import time

    end = time.monotonic() + seconds
    while True:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.002)


def _cause(code: int, spent: bool) -> tuple[str, str]:
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and spent):
        return "timeout", "processor time"
    if code == -signal.SIGSYS:
        return "forbidden call", "a system call that ends the process"
    if code < 0:
        return "killed", signal.Signals(-code).name
    return "ended early", f"exit code {code}"


def _exception(name: str, text: str) -> Exception:
    """A built-in exception of that name, so that tests can expect one; else RaisedError."""
    import builtins

    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):  # UnicodeDecodeError and its like want more arguments
            error = kind(text)
            error.add_note(name)
            return error
    error = RaisedError(text)
    error.add_note(name)
    return error

"""``python -m cegppo_verl.evaluation.sandbox.launch``: one candidate, from a JSON line to a JSON line.

Reads a job from standard input, which stays open: when it closes, the evaluator is gone, and so is
everything here. Writes the result to standard output and ends when no process of the run is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any

from cegppo_verl.evaluation.sandbox import kernel, namespaces, privileges
from cegppo_verl.evaluation.sandbox.judge import Job, serve

START_SECONDS = 120.0  # until the candidate gets its program; a crowded machine is slow
TICK = 0.05  # seconds between two looks at the folder
STOPS = {"timeout": "wall clock", "output limit": "standard output and error", "file limit": "its folder"}


class Watch:
    """Watches one run until its verdict, its end or a limit."""

    def __init__(self, job: Job, verdict: int, output: int) -> None:
        self._job, self._verdict, self._output = job, verdict, output
        self._lines, self._written = b"", 0
        self._end = time.monotonic() + START_SECONDS
        self.layers: list[str] | None = None

    def until_verdict(self) -> dict[str, Any]:
        """The verdict as outcome, cause and detail. SystemExit when the evaluator is gone."""
        poller = select.poll()
        for descriptor in (0, self._verdict, self._output):
            poller.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poller.poll(TICK * 1000)]
            found = self._look(ready, poller)
            if found is not None:
                return found

    def _look(self, ready: list[int], poller: select.poll) -> dict[str, Any] | None:
        if 0 in ready and not os.read(0, 4096):
            raise SystemExit("the evaluator is gone")
        if self._output in ready and not self._count():
            poller.unregister(self._output)
        if self._verdict in ready:
            found = self._read_verdict()
            if found is not None:
                return found
        return self._over_limit()

    def _count(self) -> bool:
        chunk = os.read(self._output, 1 << 16)
        self._written += len(chunk)
        return bool(chunk)

    def _read_verdict(self) -> dict[str, Any] | None:
        chunk = os.read(self._verdict, 1 << 16)
        if not chunk:
            return _ended(self.layers is not None)
        self._lines += chunk
        while b"\n" in self._lines:
            line, self._lines = self._lines.split(b"\n", 1)
            message = json.loads(line)
            if "layers" not in message:
                return message
            self.layers = message["layers"]
            self._end = time.monotonic() + self._job.limits.wall_seconds
        return None

    def _over_limit(self) -> dict[str, Any] | None:
        if time.monotonic() > self._end:
            late = self.layers is not None
            return _wrong("timeout") if late else _error("the sandbox did not start in time")
        if self._written > self._job.limits.output_bytes:
            return _wrong("output limit")
        # Within its own root the kernel limits the folder, and this process does not see it.
        if _size(self._job.folder) > self._job.limits.file_bytes:
            return _wrong("file limit")
        return None


def _wrong(cause: str) -> dict[str, Any]:
    return {"outcome": "wrong", "cause": cause, "detail": STOPS[cause]}


def _error(cause: str) -> dict[str, Any]:
    return {"outcome": "grader_error", "cause": cause, "detail": ""}


def _ended(started: bool) -> dict[str, Any]:
    """The judge is gone without a verdict: the tests or their data were too much for it, or it was killed."""
    with contextlib.suppress(ChildProcessError):
        status = os.waitpid(-1, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        if started and code in (-signal.SIGXCPU, -signal.SIGKILL):
            return {"outcome": "wrong", "cause": "timeout", "detail": f"in the tests, signal {-code}"}
        return _error(f"the judge ended with code {code}")
    return _error("the judge is gone")


def _size(folder: str) -> int:
    """Bytes on the disk below the folder, and 4 KiB for every entry."""
    total = 0
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            with contextlib.suppress(OSError):
                total += 4096 + os.lstat(os.path.join(place, name)).st_blocks * 512
    return total


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(word) for word in file.read().split()]


def _end_all(judge: int) -> None:
    """Kill the judge, and whatever comes to us when its parent dies, until nothing is left."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(judge, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            with contextlib.suppress(OSError):  # no such file: the kernel was built without it
                for pid in _children():
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _start(job: Job) -> tuple[int, int, int, list[str]]:
    """Enter the namespaces and fork the judge: its id, its two pipes, and the layers so far."""
    failed: dict[str, str] = {}
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    active = namespaces.enter(failed)
    users = (privileges.spare_user(0), privileges.spare_user(1))
    verdict, verdict_end = os.pipe()
    output, output_end = os.pipe()
    judge = os.fork()
    if judge == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.close(verdict)
        os.close(output)
        serve(job, users, active, failed, verdict_end, output_end)
    os.close(verdict_end)
    os.close(output_end)
    return judge, verdict, output, active


def _read_line() -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        chunk = os.read(0, 1 << 16)
        if not chunk:
            raise SystemExit("no job on standard input")
        data += chunk
    return data


def main() -> None:
    """One job."""
    os.umask(0o022)
    job = Job.read(_read_line())
    judge, verdict, output, active = _start(job)
    watch = Watch(job, verdict, output)
    try:
        found = watch.until_verdict()
    finally:
        _end_all(judge)
    found.setdefault("nonce", job.nonce)
    found["layers"] = active if watch.layers is None else watch.layers
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

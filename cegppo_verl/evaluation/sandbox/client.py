"""Run a candidate: the evaluator's end. Safe in any thread of any process: one plain subprocess per run."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.sandbox.judge import Job
from cegppo_verl.evaluation.sandbox.launch import START_SECONDS
from cegppo_verl.evaluation.sandbox.limits import Limits, Program, Result

__all__ = ["Limits", "Program", "Result", "run"]

SOURCE = Path(__file__).parents[3]  # the folder that holds the package
GRACE_SECONDS = 60.0  # for the launcher to clean up; it keeps the limits itself
MOST_ANSWER = 1 << 20  # bytes of the launcher's line


def run(
    program: Program,
    limits: Limits | None = None,
    *,
    accept_candidates_running_without_isolation: bool = False,
) -> Result:
    """Test one candidate program; blocks until nothing of it is left.

    Args:
        program: the candidate and its tests.
        limits: what it may use.
        accept_candidates_running_without_isolation: run also where this system lacks a necessary layer (see
            ``layers.GUARDS``). The candidate can then do whatever this user can do: read, write, connect.

    Raises:
        UserError: a necessary layer cannot be had here.
    """
    folder = tempfile.mkdtemp(prefix="candidate-")
    try:
        limits = limits or Limits()
        job = Job(program, limits, folder, secrets.token_hex(16), accept_candidates_running_without_isolation)
        result = _ask(job)
    finally:
        _remove(folder)
    if result.cause == "refused":
        hint = "run it where user namespaces or Landlock and seccomp are allowed, or as root in a container"
        raise UserError(f"candidate programs are not run: {result.detail}", hint=hint)
    return result


def _ask(job: Job) -> Result:
    # -S: no package folders are needed, and they cost most of the start.
    process = subprocess.Popen(
        [sys.executable, "-S", "-P", "-B", "-m", "cegppo_verl.evaluation.sandbox.launch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": str(SOURCE), "LANG": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
    )
    try:
        return _result(_answer(process, job), job)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _answer(process: subprocess.Popen[bytes], job: Job) -> bytes:
    """The launcher's line; what came until it ended, or b"" when it did not end in time."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(job.line())
        process.stdin.flush()
    end = time.monotonic() + START_SECONDS + job.limits.wall_seconds + GRACE_SECONDS
    data, poller = b"", select.poll()
    poller.register(process.stdout, select.POLLIN)
    while len(data) < MOST_ANSWER:
        left = end - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            return b""
        chunk = os.read(process.stdout.fileno(), 1 << 16)
        if not chunk:
            return data
        data += chunk
    return b""


def _result(line: bytes, job: Job) -> Result:
    try:
        found = json.loads(line)
        if found["nonce"] != job.nonce:
            return Result("grader_error", "an answer to another question", "", ())
        return Result(found["outcome"], found["cause"], found["detail"], tuple(found["layers"]))
    except (ValueError, KeyError, TypeError):
        return Result("grader_error", "no answer of the launcher", "", ())


def _remove(folder: str) -> None:
    """All files of the run, folders without rights included."""

    def make_free(function: object, path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            os.chmod(path, 0o700)
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)

    shutil.rmtree(folder, onerror=make_free)

"""Programs in forks of a warm server, started as other software starts them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cegppo_verl.launch.warm.handle import WarmInterpreter

IS_WARM = "'cegppo_verl.launch.warm.become' in __import__('sys').modules"
PLAIN = {name: value for name, value in os.environ.items() if name not in ("PYTHONUNBUFFERED", "RAY_JOB_ID")}
MARKER = "# multiprocessing\n"  # what makes -c worth a fork
SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


@contextmanager
def server(folder: Path, *modules: str, **environment: str) -> Iterator[WarmInterpreter]:
    """A fork server that writes ``folder/log.txt``."""
    interpreter = WarmInterpreter({**PLAIN, **environment}, folder / "log.txt", modules)
    try:
        assert interpreter.wait(60), (folder / "log.txt").read_text()
        yield interpreter
    finally:
        interpreter.close()


def call(python: Path | str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), *arguments], capture_output=True, text=True, timeout=60, **options)


def code(
    python: Path | str, program: str, *arguments: str, **options: Any
) -> subprocess.CompletedProcess[str]:
    return call(python, "-c", MARKER + program, *arguments, **options)


def start(python: Path, program: str) -> subprocess.Popen[str]:
    command = [str(python), "-c", MARKER + program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal: the stand-in has one once it knows its fork."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)

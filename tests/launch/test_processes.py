"""The processes of one attempt, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from cegppo_verl.launch import processes

TREE = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
child.wait()
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


class Started:
    """Starts programs; all of them end with the test."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def __call__(self, program: str, mark: str | None = None) -> tuple[subprocess.Popen[str], str]:
        environment = {**os.environ, **({processes.MARK: mark} if mark else {})}
        command = [sys.executable, "-c", program]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.stack.callback(process.__exit__, None, None, None)
        self.stack.callback(process.kill)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()


@pytest.fixture
def started() -> Iterator[Started]:
    with ExitStack() as stack:
        yield Started(stack)


def test_only_processes_with_this_very_mark_are_found(started: Started, tmp_path: Path) -> None:
    mark = f"cell/{tmp_path}"
    mine, child = started(TREE, mark)
    started(TREE, mark + "0")
    started(TREE)
    assert {p.pid for p in processes.marked(mark)} == {mine.pid, int(child)}
    assert processes.marked(mark[:-1]) == []


def test_descendants_are_followed_and_nobody_is_counted_twice(started: Started) -> None:
    parent, child = started(TREE)
    assert [p.pid for p in processes.descendants(parent.pid)] == [int(child)]
    both = [psutil.Process(parent.pid), psutil.Process(int(child))]
    assert sorted(p.pid for p in processes.with_descendants(both)) == sorted([parent.pid, int(child)])
    parent.kill()
    parent.wait()
    assert processes.descendants(parent.pid) == []
    psutil.Process(int(child)).kill()


def test_the_machine_is_looked_at_once_whatever_the_number_of_roots(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = [started(TREE) for _ in range(3)]
    roots = [psutil.Process(process.pid) for process, _ in parents]
    looks, numbers = [], processes._numbers
    monkeypatch.setattr(processes, "_numbers", lambda: looks.append(1) or numbers())
    found = {p.pid for p in processes.with_descendants(roots)}
    assert found == {p.pid for p, _ in parents} | {int(child) for _, child in parents}
    assert len(looks) == 1
    for _, child in parents:
        psutil.Process(int(child)).kill()


def test_a_number_that_is_anothers_now_has_no_children_here(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = started(TREE)
    former = psutil.Process(parent.pid)
    monkeypatch.setattr(former, "is_running", lambda: False)
    assert [p.pid for p in processes.with_descendants([former])] == [parent.pid]
    psutil.Process(int(child)).kill()


def test_a_clock_that_is_set_back_hides_nobody(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, child = started(TREE)
    root = psutil.Process(parent.pid)
    assert root.create_time() > 0  # kept
    boot = psutil.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot - 3600)
    assert int(child) in {p.pid for p in processes.with_descendants([root])}
    assert int(child) in {p.pid for p in processes.descendants(parent.pid)}
    psutil.Process(int(child)).kill()


def test_this_process_is_never_in_the_list(started: Started) -> None:
    process, child = started(TREE)
    found = {p.pid for p in processes.with_descendants([psutil.Process()])}
    assert {process.pid, int(child)} <= found
    assert os.getpid() not in found


def test_a_polite_process_gets_the_time_to_end_and_a_deaf_one_does_not_get_away(started: Started) -> None:
    polite, _ = started(
        "import signal, sys; signal.signal(15, lambda *_: sys.exit(3)); print(1, flush=True); signal.pause()"
    )
    deaf, _ = started(DEAF)
    began = time.monotonic()
    processes.end([psutil.Process(polite.pid), psutil.Process(deaf.pid)], grace=0.5)
    assert (polite.wait(5), deaf.wait(5)) == (3, -9)
    assert 0.4 < time.monotonic() - began < 5


def test_one_that_is_gone_already_is_no_error(started: Started) -> None:
    process, _ = started("print(1)")
    gone = psutil.Process(process.pid)
    process.wait()
    processes.end([gone], grace=0.1)
    assert processes.proportional_memory([gone]) == 0


def test_memory_is_in_bytes_and_shared_pages_are_shared(started: Started) -> None:
    process, _ = started(
        "import time; x = bytearray(64 * 2**20); x[::4096] = b'1' * len(x[::4096]);"
        "print(1, flush=True); time.sleep(60)"
    )
    one = processes.proportional_memory([psutil.Process(process.pid)])
    assert 64 * 2**20 < one < 200 * 2**20
    assert one <= psutil.Process(process.pid).memory_info().rss + 2**20

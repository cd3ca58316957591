"""Shared memory and sockets of a dead attempt go; those of anybody else stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cegppo_verl.launch import remains

MARK = "cegppo__toy-xs__seed1-0123456789ab-1-deadbeef"
OTHERS = ("psm_098d8284", "verl_weights_0123", "sem.mp-0en69a3j", f"psm_{remains.tag('another')}_00")


def test_only_what_bears_the_attempts_tag_is_removed(tmp_path: Path) -> None:
    tag = remains.tag(MARK)
    own = [f"psm_{tag}_12ab", f"verl_weights_{tag}_34cd", f"rl-colocate-zmq-{tag}-01000000.sock"]
    for name in (*own, *OTHERS):
        (tmp_path / name).touch()
    assert sorted(p.name for p in remains.remove(MARK, tmp_path, tmp_path)) == sorted(own)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(OTHERS)


KILLED = """
import os, signal
from multiprocessing import shared_memory
from cegppo_verl.verl_plugin import isolation, isolation_memory
isolation_memory.install(isolation.tag())
nameless = shared_memory.SharedMemory(create=True, size=64)
weights = shared_memory.SharedMemory(name="verl_weights_7", create=True, size=64)
weights.buf[0] = 42
again = shared_memory.SharedMemory(name="verl_weights_7")
assert again.buf[0] == 42 and shared_memory.SharedMemory(name=nameless.name).size == nameless.size
print(nameless.name, weights.name, flush=True)
"""
# The tracker of a killed process would remove its segments, unless it is killed, too, as with a whole node.
SEVER = (
    "from multiprocessing import resource_tracker as t\nos.kill(t._resource_tracker._pid, signal.SIGKILL)\n"
)


@pytest.mark.skipif(not remains.SHARED_MEMORY.is_dir(), reason="no /dev/shm here")
def test_segments_of_a_killed_process_are_found_by_its_mark() -> None:
    mark = f"{MARK}-{os.getpid()}"
    program = KILLED + SEVER + "os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CEGPPO_ISOLATION": mark},
        capture_output=True,
        text=True,
        check=False,
    )
    names = done.stdout.split()
    assert len(names) == 2, done.stderr
    assert {p.name for p in remains.of(mark)} == set(names)
    remains.remove(mark)
    assert remains.of(mark) == []

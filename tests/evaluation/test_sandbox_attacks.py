"""No attack gets out, none is graded right, each has a cause, nothing is left: here and in a container."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("sandbox_attacks.py")
NAMES = sorted(path.stem for path in Path(__file__).with_name("attacks").glob("*.py"))
# What rests on namespaces or a user of its own where there are some: once more without them.
AGAIN = [name for name in NAMES if name.endswith("_by_libc") or name.startswith(("kill_", "read_", "write_"))]
AGAIN += ["daemon_double_fork", "fill_shared_memory", "many_files", "one_large_file", "set_user_id"]
AGAIN += ["rename_over", "tcp", "thread_bomb", "trace_parent", "unix_socket", "memory_without_owner"]
MODES = {"here": NAMES, "container": AGAIN, "bare": NAMES[:2]}


@cache
def attacked(mode: str) -> dict:
    command = [sys.executable, str(SCRIPT), mode, *MODES[mode]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def result(mode: str, name: str) -> dict:
    found = attacked(mode)["results"][name]
    if "refused" in found:
        pytest.skip(found["refused"])
    return found


@pytest.mark.parametrize(("mode", "name"), [(m, n) for m in ("here", "container") for n in MODES[m]])
def test_an_attack_is_a_wrong_answer_with_its_cause(mode, name):
    found = result(mode, name)
    assert found["outcome"] == "wrong", found
    assert found["cause"] in found["expected"], found


@pytest.mark.parametrize("mode", ["here", "container"])
def test_nothing_outside_was_written_read_or_reached_and_nothing_is_left(mode):
    found = attacked(mode)
    assert (found["damage"], found["orphans"], found["files"]) == ([], 0, [])


def test_without_namespaces_and_landlock_nothing_is_run():
    for name in MODES["bare"]:
        refused = attacked("bare")["results"][name]["refused"]
        assert "no writing outside its folder" in refused
        assert "landlock" in refused


def test_there_are_enough_attacks():
    assert len(NAMES) >= 25

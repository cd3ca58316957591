"""The sandbox on honest programs: verdicts, causes, threads; a dead evaluator leaves nothing behind."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cegppo_verl.evaluation.sandbox import Limits, Program, layers, run
from cegppo_verl.evaluation.sandbox.runner import decode, encode

TESTS = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n"
LIMITS = Limits(cpu_seconds=2, wall_seconds=60)


def outcome(code, tests=TESTS, prelude="", limits=LIMITS):
    found = run(Program(code, "f", tests, prelude), limits)
    if found.outcome == "grader_error":
        return f"grader_error: {found.cause}"
    return found.cause or found.outcome


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(x): return 2 * x", "correct"),
        ("def f(x): return x + 2", "assertion"),
        ("def f(x): return 1 / 0", "exception ZeroDivisionError"),
        ("def f(x) return x", "exception SyntaxError"),
        ("def g(x): return x", "exception KeyError"),
        ("f = 3", "exception TypeError"),
        ("def f(x): return iter([x])", "not plain data"),
        ("def f(x): return f(x)", "exception RecursionError"),
        ("import numpy\ndef f(x): return 2 * x", "exception ModuleNotFoundError"),
        (
            "import asyncio\ndef f(x):\n    async def g(): return 2 * x\n    return asyncio.run(g())",
            "correct",
        ),
        ("open('note', 'w').write('4')\ndef f(x): return x * int(open('note').read()) // 2", "correct"),
        (
            "from math import *\nimport threading, json, re, heapq, bisect, decimal\ndef f(x): return x * 2",
            "correct",
        ),
        ("class E(Exception): pass\ndef f(x): raise E('no')", "exception E"),
        ("print('loaded')\ndef f(x):\n    print(x)\n    return 2 * x", "correct"),
    ],
)
def test_verdicts(code, expected):
    assert outcome(code) == expected


def test_tests_as_a_row_of_asserts_may_use_the_prelude_and_expect_exceptions():
    tests = "assert f(half(4)) == 4\ntry:\n    f('x')\n    assert False\nexcept ValueError:\n    pass\n"
    prelude = "def half(x):\n    return x // 2\ndef f(x):\n    '''Doubles.'''\n"
    code = "def f(x):\n    if isinstance(x, str):\n        raise ValueError(x)\n    return 2 * x"
    assert outcome(code, tests, prelude) == "correct"
    assert outcome("def f(x): return 2 * x", tests, prelude) == "assertion"


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ("def check(candidate): pass", "grader_error: the tests never call it"),
        ("def check(candidate) pass", "grader_error: the tests are no program"),
        ("import nothing", "grader_error: the tests failed before any call"),
        (
            "def check(candidate):\n    try:\n        candidate(1)\n    except Exception:\n        pass",
            "ended early",
        ),
    ],
)
def test_broken_tests_are_the_graders_error_and_a_death_cannot_be_caught(tests, expected):
    code = "import os\ndef f(x): os._exit(0)"
    assert outcome(code, tests).startswith(expected)


def test_plain_data_crosses_as_it_is():
    value = [
        None,
        True,
        -3,
        1 << 200,
        0.1,
        float("inf"),
        2 + 1j,
        "ä\ud800",
        b"\0",
        (1, (2,)),
        {1},
        frozenset("a"),
    ]
    value.append({(1, 2): [{}], "list": [1], None: -(10**50)})
    assert decode(encode(value)) == value
    assert [type(item) for item in decode(encode(value))] == [type(item) for item in value]
    for bad in ({"dict": [[[], 1]]}, {"int": "x"}, {"evil": 1}, {}, {"a": 1, "b": 2}, {"tuple": 3}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            decode(bad)


def test_many_threads_may_run_candidates_at_once():
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda i: outcome(f"def f(x): return 2 * x + {i % 2}"), range(8)))
    assert found == ["correct", "assertion"] * 4


def test_a_result_names_its_layers_and_they_guard_everything():
    found = run(Program("def f(x): return 2 * x", "f", TESTS), LIMITS)
    assert layers.missing(found.layers) == []
    assert "resource limits" in found.layers


@pytest.mark.parametrize("guard", layers.GUARDS)
def test_a_missing_guard_is_refused_and_named(guard):
    everything = {layer for names in layers.GUARDS.values() for layer in names}
    left = everything - set(layers.GUARDS[guard])
    assert guard in layers.refusal(left, {})
    assert layers.refusal(everything, {}) == ""


def test_limits_are_positive():
    with pytest.raises(ValueError, match="cpu_seconds"):
        Limits(cpu_seconds=0)


def test_when_the_evaluator_is_killed_everything_ends(tmp_path):
    code = "import time\ndef f(x): time.sleep(500)"
    job = f"run(Program({code!r}, 'f', {TESTS!r}), Limits(500))"
    script = f"from cegppo_verl.evaluation.sandbox import Limits, Program, run\n{job}"
    evaluator = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)})
    family = _wait(lambda: len(_family(evaluator.pid)) >= 3 and _family(evaluator.pid))
    evaluator.kill()
    evaluator.wait()
    assert family
    assert _wait(lambda: not any(_is_alive(pid) for pid in family))


def _wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    return False


def _family(pid):
    """Descendants: launcher, judge, candidate."""
    found, todo = [], [pid]
    while todo:
        try:
            with open(f"/proc/{todo[0]}/task/{todo[0]}/children") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            children = []
        found += children
        todo = [*todo[1:], *children]
    return found


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False

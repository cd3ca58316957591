"""The pool and its processes, with a judge that does what it is told instead of mathematics."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cegppo_verl.evaluation import pool as pool_module
from cegppo_verl.evaluation.pool import Pool

SECONDS = 0.2
STUB = Path(__file__).with_name("grading_stub.py")


@pytest.fixture(autouse=True)
def _stub(monkeypatch):
    monkeypatch.setattr(pool_module, "WORKER", STUB)
    monkeypatch.setattr(pool_module, "START_SECONDS", 60.0)
    monkeypatch.setattr(pool_module, "PATIENCE", 100)  # a crowded machine is no failure


@pytest.fixture
def pool():
    pool = Pool(1, SECONDS)
    yield pool
    pool.close()


def ask(pool, what, truth=""):
    return pool.ask({"answer": what, "truths": [truth]})


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("forever", "timeout"),
        ("in C", "timeout"),  # one long operation: a Python handler would never run
        ("abort", "grader_error"),
        ("bad pointer", "grader_error"),
        ("exit", "grader_error"),
        ("two gigabytes", "grader_error"),
        ("recursion", "grader_error"),
        ("wrong", "wrong"),
    ],
)
def test_whatever_a_child_does_the_next_item_is_graded(what, outcome, pool):
    assert ask(pool, what) == outcome
    assert ask(pool, "correct") == "correct"


def test_a_child_that_waits_for_ever_is_ended_without_its_crew(pool, monkeypatch):
    monkeypatch.setenv("PATIENCE", "3")
    ask(pool, "correct")
    crew = pool._crew
    assert ask(pool, "asleep") == "late"
    assert pool._crew is crew


def test_a_child_that_dies_while_idle_mixes_up_no_answers(pool):
    for number in range(5):
        os.kill(int(ask(pool, "pid")), signal.SIGKILL)
        time.sleep(0.05)
        assert ask(pool, f"answer {number}") == f"answer {number}"


def test_a_child_that_has_grown_makes_room_for_a_fresh_one():
    pool = Pool(1, 60.0)  # on a crowded machine 300 MB alone take longer than SECONDS
    first = ask(pool, "pid")
    assert ask(pool, "pid") == first
    assert ask(pool, "300 megabytes") == "300 megabytes"
    assert ask(pool, "pid") != first
    pool.close()


def test_a_child_of_a_large_program_does_not_count_its_parents_memory():
    code = (
        "import sys, pathlib; from cegppo_verl.evaluation import pool\n"
        "pool.WORKER = pathlib.Path(sys.argv[1]); ballast = bytearray(b'x') * (400 * 1024**2)\n"
        "asked = pool.Pool(1, 5.0); pid = lambda: asked.ask({'answer': 'pid', 'truths': []})\n"
        "sys.exit(pid() != pid())"
    )
    command = [sys.executable, "-c", code, str(pool_module.WORKER)]
    assert subprocess.run(command, check=False, timeout=120).returncode == 0


def test_a_child_cannot_write_files(pool, tmp_path):
    target = tmp_path / "target"
    assert ask(pool, "file", str(target)) == "grader_error"
    assert not target.exists() or target.read_text() == ""


def test_the_kernel_would_take_a_child_before_the_one_that_trains(pool):
    pid = ask(pool, "pid")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"


def test_limits_hold_when_the_asking_thread_has_blocked_its_signals(pool, monkeypatch):
    monkeypatch.setattr(pool_module, "START_SECONDS", 3.0)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NOTICES)
    try:
        assert ask(pool, "in C") == "timeout"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


NOTICES = {signal.SIGPROF, signal.SIGALRM}


def test_a_stopped_crew_is_ended_when_its_deadline_is_over(pool, monkeypatch):
    monkeypatch.setattr(pool_module, "GRACE", 0.1)
    monkeypatch.setattr(pool_module, "PATIENCE", 4)
    assert ask(pool, "correct") == "correct"
    crew = pool._crew
    os.killpg(crew.process.pid, signal.SIGSTOP)
    assert ask(pool, "correct") == "late"
    assert crew.process.poll() is not None
    assert ask(pool, "correct") == "correct"


HOLDER = """
import os, sys, time
pid = os.fork()
if pid == 0:
    time.sleep(100)
    os._exit(0)
open(__file__ + ".pid", "w").write(str(pid))
os._exit(3)
"""


def test_an_orphan_that_holds_the_line_does_not_hide_that_the_nurse_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(pool_module, "WORKER", tmp_path / "holder.py")
    pool_module.WORKER.write_text(HOLDER)
    crew = pool_module.Crew(1, SECONDS)
    with pytest.raises(pool_module.LineClosedError):
        crew.lines[0].ask({}, seconds=90)
    orphan = int(Path(f"{pool_module.WORKER}.pid").read_text())
    assert running(orphan)
    os.kill(orphan, signal.SIGKILL)
    crew.end()


def test_a_large_request_does_not_block_on_a_full_pipe(pool, monkeypatch):
    monkeypatch.setattr(pool_module, "GRACE", 0.1)
    monkeypatch.setattr(pool_module, "PATIENCE", 4)
    assert ask(pool, "correct", "x" * 1_000_000) == "correct"
    os.killpg(pool._crew.process.pid, signal.SIGSTOP)
    assert ask(pool, "correct", "x" * 1_000_000) == "late"


def test_threads_get_their_own_answers_while_children_die():
    pool, words = Pool(3, SECONDS), ["correct", "wrong", "abort", "forever"]
    items = random.Random(0).choices(words, weights=[40, 40, 5, 2], k=300)
    # What spins for ever has used up its own time, or, on a busy machine, the clock's.
    expected = {"abort": ["grader_error"], "forever": ["timeout", "late"]}
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda item: ask(pool, item), items))
    pool.close()
    assert all(f in expected.get(item, [item]) for f, item in zip(found, items, strict=True))


def test_threads_get_their_own_answers_while_crews_are_killed():
    pool, killed = Pool(2, 5.0), set()

    def one(number):
        crew = pool._crew
        if number % 40 == 39 and crew is not None and crew.process.poll() is None:
            killed.add(crew.process.pid)
            crew.process.kill()
        return ask(pool, f"answer {number}")

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(one, range(400)))
    pool.close()
    assert len(killed) > 3
    # Two deaths in a row give up on an item; none ever gets another item's answer.
    assert all(f in (f"answer {n}", "grader_error") for n, f in enumerate(found))
    assert found.count("grader_error") < 40


def test_nothing_is_left_behind_by_a_parent_that_is_killed():
    code = (
        "import sys, pathlib, threading; from cegppo_verl.evaluation import pool\n"
        "pool.WORKER = pathlib.Path(sys.argv[1]); asked = pool.Pool(2, 1000.0)\n"
        "print(asked.ask({'answer': 'pid', 'truths': []}), asked._crew.process.pid, flush=True)\n"
        "asked.ask({'answer': 'in C', 'truths': []})"
    )
    command = [sys.executable, "-c", code, str(pool_module.WORKER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert gone(pids, seconds=60)


def gone(pids, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(running(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def running(pid):
    """Whether a process lives; one that nobody collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_closing_ends_all_processes_and_the_pool_can_be_used_again(pool):
    pids = [int(ask(pool, "pid")), pool._crew.process.pid]
    pool.close()
    assert gone(pids, seconds=30)
    assert ask(pool, "correct") == "correct"


def test_descriptors_do_not_leak(pool):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    assert ask(pool, "correct") == "correct"
    before = descriptors()
    for _ in range(5):
        pool.close()
        assert ask(pool, "correct") == "correct"
    assert descriptors() == before

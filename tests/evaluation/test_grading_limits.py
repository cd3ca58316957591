"""Hostile input stays bounded, threads and signals of the caller stay untouched, the quick path is quick."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cegppo_verl.evaluation import pool as pool_module
from cegppo_verl.evaluation.grading import Grader, grader_id
from cegppo_verl.experiment.identity import GRADER_VERSION

LIMIT = 1.0
SLACK = 20.0  # a replaced worker imports sympy again, perhaps on a crowded machine


@pytest.fixture
def grader():
    grader = Grader(workers=1, seconds=LIMIT)
    yield grader
    grader.close()


@pytest.fixture(scope="module")
def patient():
    grader = Grader(workers=1, seconds=60)
    yield grader
    grader.close()


@pytest.mark.parametrize("tower", ["9^{9^{9^{9}}}", "2^{2^{60}}", "(10^9)!", "(((10!)!)!)!"])
def test_a_tower_of_powers_ends_in_time_and_the_next_item_is_graded(tower, grader):
    start = time.monotonic()
    assert grader.grade(f"\\boxed{{{tower}}}", "5").outcome in ("timeout", "grader_error")
    assert time.monotonic() - start < LIMIT * 2 + SLACK
    grader._pool._seconds = 60.0  # only the tower is meant to be short of time
    assert grader.grade("\\boxed{\\frac{10}{2}}", "5").outcome == "correct"


def test_a_time_out_is_not_a_wrong_answer(grader):
    verdict = grader.grade("\\boxed{9^{9^{9^{9}}}}", "5")
    assert (verdict.outcome, verdict.correct, verdict.extracted) == ("timeout", False, "9^{9^{9^{9}}}")


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        ("\\boxed{" * 200_000, "no_answer"),
        ("{" * 1_000_000 + "\\boxed{5}", "correct"),
        ("\\boxed{5}" + "}" * 1_000_000, "no_answer"),  # the box lies further back than anyone writes
        ("7 " * 500_000 + "\\boxed{5}", "correct"),
        ("\\boxed{" + "1" * 1_000_000 + "}", "no_answer"),
        ("\\boxed{" * 50_000 + "5" + "}" * 50_000, "correct"),
        ("1," * 500_000, "no_answer"),
    ],
)
def test_megabyte_responses_take_a_fraction_of_a_second(response, outcome, patient):
    start = time.monotonic()
    assert patient.grade(response, "5").outcome == outcome
    patient.grade(response, "5", "number")
    patient.grade(response, "5", "whole")
    assert time.monotonic() - start < 3.0


@pytest.mark.parametrize("inside", ["{" * 450 + "5" + "}" * 450, "\\frac{" * 80 + "1", "(" * 900, "$" * 900])
def test_nested_braces_and_fragments_get_a_verdict(inside, grader):
    assert grader.grade(f"\\boxed{{{inside}}}", "7").outcome in ("wrong", "no_answer", "timeout")


def test_the_integer_path_takes_under_50_microseconds(patient):
    response, truth = "Thus the sum is 540. \\boxed{540}", "540"
    best = min(_seconds_per_item(patient, response, truth) for _ in range(7))
    assert best < 50e-6


def _seconds_per_item(grader, response, truth, number=2000):
    start = time.perf_counter()
    for _ in range(number):
        grader.grade(response, truth)
    return (time.perf_counter() - start) / number


def test_many_threads_share_two_workers_and_leave_the_callers_signals_alone():
    grader = Grader(workers=2, seconds=60)
    before, armed = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0] > 0
    items = [(f"\\boxed{{\\frac{{{2 * i}}}{{2}}}}", str(i if i % 3 else i + 1)) for i in range(24)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda item: grader.grade(*item).correct, items))
    assert found == [i % 3 != 0 for i in range(24)]
    assert grader._pool._idle.qsize() <= 2
    assert signal.getsignal(signal.SIGALRM) is before
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == armed  # armed by the test runner's own time limit
    grader.close()


def test_a_worker_that_is_killed_is_replaced_and_the_item_tried_again(patient):
    assert patient.grade("\\boxed{\\frac{10}{2}}", "5").correct
    worker = patient._pool._idle.get_nowait()
    worker._process.kill()
    worker._process.wait()
    patient._pool._idle.put(worker)
    assert patient.grade("\\boxed{\\frac{10}{2}}", "5").outcome == "correct"


def test_a_worker_that_cannot_start_is_a_grader_error(monkeypatch, tmp_path):
    broken = tmp_path / "worker.py"
    broken.write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(pool_module, "WORKER", broken)
    assert Grader(workers=1).grade("\\boxed{\\frac12}", "5").outcome == "grader_error"


def test_a_forked_child_starts_its_own_workers(patient):
    assert patient.grade("\\boxed{\\frac{10}{2}}", "5").correct
    parents = idle_process(patient)
    child = os.fork()
    if child == 0:
        right = patient.grade("\\boxed{\\frac{12}{2}}", "6").correct
        os._exit(0 if right and idle_process(patient) != parents else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert patient.grade("\\boxed{\\frac{14}{2}}", "7").correct
    assert idle_process(patient) == parents


def idle_process(grader):
    """Process id of the only idle worker."""
    (worker,) = grader._pool._idle.queue
    return worker._process.pid


def test_a_stuck_worker_ends_by_itself_when_its_parent_is_gone():
    # The kernel's alarm, not a Python handler: the loop below is one long operation inside C.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from worker import *; import worker\n"
        "signal.signal(signal.SIGALRM, signal.SIG_DFL); worker.GRACE = 0.5\n"
        "worker.judged = lambda request: 9 ** 9 ** 9 ** 9\nserve(0.5)\n"
    )
    folder = str(pool_module.WORKER.parent)
    process = subprocess.Popen([sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=-1)
    assert process.stdin is not None
    process.stdin.write(b"{}\n")
    process.stdin.flush()
    try:
        assert process.wait(timeout=60) == -signal.SIGALRM
    finally:
        process.kill()
        process.communicate()


def test_nothing_is_started_before_it_is_needed():
    grader, threads = Grader(), threading.active_count()
    assert grader.grade("\\boxed{5}", "5").correct
    assert grader._pool._idle.qsize() == 0
    assert threading.active_count() == threads


def test_grading_imports_neither_sympy_nor_torch():
    code = (
        "import sys, cegppo_verl.verl_plugin.reward as r; r.grade('5', '5', 'whole')\n"
        "bad = {'torch', 'sympy', 'math_verify', 'transformers', 'ray', 'verl', 'vllm'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_grader_is_the_one_in_a_cells_identity():
    assert grader_id() == GRADER_VERSION

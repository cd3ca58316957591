"""Hostile input stays bounded, threads and signals of the caller stay untouched, the quick path is quick."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cegppo_verl.evaluation import grading
from cegppo_verl.evaluation import pool as pool_module
from cegppo_verl.evaluation.grading import Grader, grader_id
from cegppo_verl.evaluation.worker import PATIENCE
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


def test_a_tower_of_powers_times_out_and_the_next_item_is_graded(grader):
    start = time.monotonic()
    verdict = grader.grade("\\boxed{9^{9^{9^{9}}}}", "5")
    assert (verdict.outcome, verdict.correct, verdict.extracted) == ("timeout", False, "9^{9^{9^{9}}}")
    assert time.monotonic() - start < LIMIT * PATIENCE + SLACK
    assert grader.grade("\\boxed{\\frac{10}{2}}", "5").outcome == "correct"


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
    start = time.process_time()
    assert patient.grade(response, "5").outcome == outcome
    patient.grade(response, "5", "number")
    patient.grade(response, "5", "whole")
    assert time.process_time() - start < 3.0


def test_the_integer_path_takes_under_50_microseconds(patient):
    response, truth = "Thus the sum is 540. \\boxed{540}", "540"
    best = min(_seconds_per_item(patient, response, truth) for _ in range(7))
    assert best < 50e-6


def _seconds_per_item(grader, response, truth, number=2000):
    start = time.process_time()
    for _ in range(number):
        grader.grade(response, truth)
    return (time.process_time() - start) / number


def test_many_threads_share_two_workers_and_leave_the_callers_signals_alone():
    grader = Grader(workers=2, seconds=60)
    before, armed = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0] > 0
    items = [(f"\\boxed{{\\frac{{{2 * i}}}{{2}}}}", str(i if i % 3 else i + 1)) for i in range(24)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda item: grader.grade(*item).correct, items))
    assert found == [i % 3 != 0 for i in range(24)]
    assert len(grader._pool._idle) == 2
    assert signal.getsignal(signal.SIGALRM) is before
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == armed  # armed by the test runner's own time limit
    grader.close()


def test_a_worker_that_cannot_start_is_a_grader_error(monkeypatch, tmp_path):
    broken = tmp_path / "worker.py"
    broken.write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(pool_module, "WORKER", broken)
    assert Grader(workers=1).grade("\\boxed{\\frac12}", "5").outcome == "grader_error"


def test_a_forked_child_starts_its_own_workers(grader):
    assert grader.grade("\\boxed{\\frac{10}{2}}", "5").correct
    nurse = grader._pool._crew.process.pid
    child = os.fork()
    if child == 0:
        right = grader.grade("\\boxed{\\frac{12}{2}}", "6").correct
        other = grader._pool._crew.process.pid != nurse
        grader.close()
        os._exit(0 if right and other else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert grader.grade("\\boxed{\\frac{14}{2}}", "7").correct
    assert grader._pool._crew.process.pid == nurse


def test_nothing_is_started_before_it_is_needed():
    grader, threads = Grader(), threading.active_count()
    assert grader.grade("\\boxed{5}", "5").correct
    assert grader._pool._crew is None
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


@pytest.mark.parametrize(
    ("outcome", "asked"), [("correct", 1), ("timeout", 1), ("late", 2), ("grader_error", 2)]
)
def test_only_what_would_be_the_same_again_is_remembered(outcome, asked):
    grader, seen = Grader(), []
    grader._pool.ask = lambda request: seen.append(request) or outcome
    shown = "timeout" if outcome == "late" else outcome
    assert [grader.grade("\\boxed{x}", "y").outcome for _ in range(2)] == [shown, shown]
    assert len(seen) == asked


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(grading, "REMEMBERED", 10)
    grader = Grader()
    grader._pool.ask = lambda request: "wrong"
    for number in range(100):
        grader.grade(f"\\boxed{{x_{number}}}", "y")
    assert len(grader._seen) == 10

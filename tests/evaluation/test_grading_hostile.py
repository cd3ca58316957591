"""Answers written to hurt: each costs its limit at most, in time and in memory, and the next one is graded.

``hostile.jsonl``: ``parts`` are (text, how often), joined to a response; ``right`` says whether a
mathematician could call it so.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cegppo_verl.evaluation.grading import OUTCOMES
from cegppo_verl.evaluation.worker import MEMORY_LIMIT

CORPUS = Path(__file__).with_name("hostile.jsonl")
CASES = {case["name"]: case for case in map(json.loads, CORPUS.read_text("utf-8").splitlines())}
SECONDS = 0.2  # of a core; the towers take all of it
# A process of its own: the largest of its descendants is then one of the grader's.
PROGRAM = """
import json, resource, sys
from concurrent.futures import ThreadPoolExecutor
from cegppo_verl.evaluation.grading import Grader
grader = Grader(workers=2, seconds=float(sys.argv[2]))
def outcome(case):
    response = "".join(text * times for text, times in case["parts"])
    return grader.grade(response, case["truth"], case["rule"]).outcome
with open(sys.argv[1]) as file, ThreadPoolExecutor(4) as threads:
    cases = [json.loads(line) for line in file]
    found = dict(zip((case["name"] for case in cases), threads.map(outcome, cases)))
after = "timeout"
while after == "timeout":  # of the clock, on a crowded machine
    after = grader.grade(r"\\boxed{\\sqrt{4}}", "2").outcome
    grader._seen.clear()
grader.close()
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps({"found": found, "after": after, "peak": peak}))
"""


@pytest.fixture(scope="module")
def graded():
    command = [sys.executable, "-c", PROGRAM, str(CORPUS), str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_hostile_answer_gets_an_outcome_and_the_grader_lives_on(graded):
    assert set(graded["found"]) == set(CASES)
    assert set(graded["found"].values()) <= set(OUTCOMES)
    assert graded["after"] == "correct"


def test_no_hostile_answer_is_taken_for_right(graded):
    assert [
        n for n, outcome in graded["found"].items() if outcome == "correct" and not CASES[n]["right"]
    ] == []


def test_memory_stays_under_the_limit(graded):
    assert graded["peak"] < MEMORY_LIMIT


def test_the_towers_run_out_of_time(graded):
    towers = ("tower-of-powers", "large-power", "nested-factorials", "logarithm-of-tower")
    assert {graded["found"][name] for name in towers} == {"timeout"}


def test_the_corpus_is_large():
    assert len(CASES) >= 80
    assert sum(len(t) * n for case in CASES.values() for t, n in case["parts"]) > 10_000_000

"""The benchmark's mixtures are what they claim to be, and its arithmetic is right."""

import random
from pathlib import Path

import pytest
from rich.console import Console

from cegppo_verl.bench import grading as bench
from cegppo_verl.evaluation.agreement import read_gold
from cegppo_verl.evaluation.extract import extract_answer
from cegppo_verl.evaluation.grading import read_truth

GOLD = Path(__file__).with_name("gold.jsonl")


@pytest.fixture(scope="module")
def mixtures():
    return bench.mixtures(GOLD, 300)


def test_no_two_distinct_items_are_alike(mixtures):
    for name in ("expressions", "distinct"):
        assert len(set(mixtures[name])) == len(mixtures[name]) == 300


def test_expressions_need_mathematics(mixtures):
    asked = [(truth, extract_answer(response, "boxed")) for truth, response in mixtures["expressions"]]
    assert all(read_truth(truth).texts for truth, _ in asked)
    assert len(set(asked)) > 290  # hardly anything could be remembered


def test_rollouts_come_in_groups_with_few_answers(mixtures):
    items = mixtures["rollouts"]
    for start in range(0, 296, bench.SAMPLES):
        group = items[start : start + bench.SAMPLES]
        assert len({truth for truth, _ in group}) == 1
        assert len({extract_answer(response, "boxed") for _, response in group}) <= 4


def test_mixtures_are_the_same_in_every_run(mixtures):
    assert bench.mixtures(GOLD, 300) == mixtures


@pytest.mark.parametrize("response", ["\\boxed{12}", "\\boxed{\\frac{1}{2}}", "\\boxed{\\text{even}}"])
def test_a_varied_response_has_another_answer(response):
    varied = bench.varied(response, random.Random(0))
    assert extract_answer(varied, "boxed") not in (None, extract_answer(response, "boxed"))


def test_throughput_and_tail():
    side = bench.summary([0.001] * 999 + [1.0], seconds=2.0)
    assert side.throughput == 500
    assert side.latencies[0] == pytest.approx(0.001)
    assert side.slowest == 1.0


def test_both_sides_grade_every_item_and_the_table_has_the_ratio():
    triples = [t for t in read_gold(GOLD) if t.kind == "integer"]
    found = bench.measure(bench.distinct(triples, 12, random.Random(0)), workers=1, rounds=2)
    assert set(found) == {"math-verify", "ours"}
    ratio = found["ours"].throughput / found["math-verify"].throughput
    console = Console(width=200, record=True)
    console.print(bench.table({"distinct": found}, 1))
    assert f"{ratio:.2f}" in console.export_text()

"""The gold file: verdicts written down by a person before any grader saw them, and where ours differ."""

import json
from collections import Counter
from pathlib import Path

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation import agreement
from cegppo_verl.evaluation.grading import Grader

HERE = Path(__file__).parent
GOLD = agreement.read_gold(HERE / "gold.jsonl")
KNOWN = [json.loads(line) for line in (HERE / "gold_disagreements.jsonl").read_text("utf-8").splitlines()]
AGREED = 508  # of 581; change it only together with gold_disagreements.jsonl


@pytest.fixture(scope="module")
def found():
    grader = Grader(workers=1, seconds=30)
    yield agreement.outcomes(GOLD, grader)
    grader.close()


def test_the_disagreements_are_exactly_the_known_ones(found):
    differing = {t.key: outcome for t, outcome in found if outcome != t.verdict}
    assert differing == {key(row): row["got"] for row in KNOWN}


def key(row):
    return row["answer"], row["response"], row.get("extract", "boxed")


def test_agreement_with_the_gold_file(found, capsys):
    kinds = agreement.by_kind(found)
    with capsys.disabled():
        for kind, one in kinds.items():
            print(f"\n{kind:15} {one.agreed:3} of {one.triples:3}", end="")
    assert (kinds["all"].agreed, kinds["all"].triples) == (AGREED, len(GOLD))
    assert kinds["all"].too_lenient == sum(row["got"] == "correct" for row in KNOWN)


def test_nothing_takes_longer_than_the_limit(found):
    assert "timeout" not in {outcome for _, outcome in found}


def test_the_file_is_large_varied_and_free_of_repetitions():
    assert len(GOLD) >= 300
    assert len({triple.key for triple in GOLD}) == len(GOLD)
    verdicts = Counter(triple.verdict for triple in GOLD)
    assert set(verdicts) == {"correct", "wrong", "no_answer"}
    assert verdicts["wrong"] >= 100
    assert len({triple.kind for triple in GOLD}) >= 25
    assert all(triple.why for triple in GOLD)


def test_every_known_disagreement_has_a_reason_and_the_gold_files_verdict():
    verdicts = {triple.key: triple.verdict for triple in GOLD}
    assert all(row["reason"] and verdicts[key(row)] == row["verdict"] != row["got"] for row in KNOWN)


def test_agreement_is_counted_per_kind_and_by_direction():
    def triple(verdict, kind):
        return agreement.Triple("1", "2", verdict, kind, "why")

    found = [
        (triple("correct", "a"), "correct"),
        (triple("correct", "a"), "wrong"),
        (triple("wrong", "b"), "correct"),
        (triple("no_answer", "b"), "wrong"),
    ]
    assert agreement.by_kind(found) == {
        "a": agreement.Agreement(2, 1, 0, 1),
        "b": agreement.Agreement(2, 0, 1, 0),
        "all": agreement.Agreement(4, 1, 1, 1),
    }


@pytest.mark.parametrize("line", ["no json", '{"answer": "1"}', '{"other": 1}', "[]", "3"])
def test_a_line_that_is_no_triple_is_named(line, tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(UserError, match="line 2 is no triple"):
        agreement.read_gold(path)


def test_a_missing_gold_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="cannot read the gold file"):
        agreement.read_gold(tmp_path / "none.jsonl")

"""Every verifiable constraint, each way; parameters are checked; strict and loose scoring as in IFEval."""

import json
import time

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation import constraints
from cegppo_verl.evaluation.constraints import Constraint, loose_forms, read_constraints, verdicts
from cegppo_verl.evaluation.instructions import grade_instructions

CASES = [
    ("word_count", {"least": 2, "most": 3}, ["two words", "it's well-known"], ["one", "now four words here"]),
    ("word_count", {"least": 2, "most": 2}, ["zwei Wörter", "два слова"], ["Wörter"]),
    (
        "sentence_count",
        {"least": 2, "most": 2},
        ["One. Two!", "Pi is 3.14. Yes", "一。二。"],
        ["One.", "A. B. C."],
    ),
    ("paragraph_count", {"number": 2}, ["a\n\nb", "a\nstill a\n \n\n\nb\n"], ["a\nb", "a\n\nb\n\nc"]),
    ("bullet_count", {"number": 2}, ["- a\n* b", "x\n  • a\n  • b"], ["- a", "-a\n-b", "a - b - c"]),
    (
        "keywords",
        {"words": ["red", "blue sky"]},
        ["Red is no blue sky."],
        ["reddish blue sky", "red sky, blue"],
    ),
    (
        "keyword_frequency",
        {"word": "cat", "least": 2, "most": 2},
        ["Cat, cat!"],
        ["cat", "cat cat cat", "cats cat"],
    ),
    ("forbidden_words", {"words": ["bad", "not so"]}, ["badly so not"], ["That is BAD.", "not so"]),
    ("letter_frequency", {"letter": "e", "least": 1, "most": 2}, ["tree", "E"], ["a", "eee"]),
    ("starts_with", {"phrase": "Yes,"}, ["Yes, sir", "\n Yes, sir"], ["yes, sir", "No. Yes, sir"]),
    ("ends_with", {"phrase": "The end."}, ["It was. The end.\n"], ["The end. Really", "the end."]),
    (
        "json_format",
        {},
        ['{"a": [1]}', '```json\n{"a": 1}\n```', "```\n[]\n```"],
        ["{a: 1}", 'Here: {"a": 1}', "[" * 9999],
    ),
    ("lower_case", {}, ["all small, 1", "straße"], ["Not", "123"]),
    ("upper_case", {}, ["ALL 1", "ÄÖ"], ["ALl", "123"]),
    ("no_commas", {}, ["a b"], ["a, b", "あ、い", "a，b"]),
    ("quoted", {}, ['"a"', " “a”\n"], ['"a', 'a"b"', '"']),
    ("title", {}, ["<<My day>>\ntext"], ["<My day>", "<<>>", "<< >>"]),
    ("placeholders", {"least": 2}, ["[a] and [b c]"], ["[a]", "[]()[]"]),
    ("postscript", {"marker": "P.S."}, ["text\nP.S. more"], ["P.S.", "text P.S. more"]),
]


@pytest.mark.parametrize(("name", "parameters", "right", "wrong"), CASES)
def test_a_constraint_holds_and_does_not(name, parameters, right, wrong):
    constraint = Constraint(name, parameters)
    assert [text for text in right if not constraint.holds(text)] == []
    assert [text for text in wrong if constraint.holds(text)] == []


def test_every_constraint_has_a_case_and_an_empty_response_follows_none():
    assert {case[0] for case in CASES} == set(constraints.REGISTRY)
    assert len(constraints.REGISTRY) >= 15
    for name, parameters, _, _ in CASES:
        assert not Constraint(name, parameters).holds(" \n", loose=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"name": "word_cuont", "least": 1, "most": 2}, "did you mean 'word_count'"),
        ({"name": "word_count", "least": 1}, "most must be a whole number"),
        ({"name": "word_count", "least": True, "most": 2}, "least must be a whole number"),
        ({"name": "word_count", "least": 3, "most": 2}, "is more than most"),
        ({"name": "word_count", "least": -1, "most": 2}, "least must be a whole number"),
        ({"name": "bullet_count", "numbr": 1}, "did you mean 'number'"),
        ({"name": "keywords", "words": "red"}, "words must be a list of texts"),
        ({"name": "keywords", "words": []}, "words must be a list of texts"),
        ({"name": "starts_with", "phrase": ""}, "phrase must be a text"),
        ({"name": "no_commas", "number": 1}, "has no parameter"),
    ],
)
def test_bad_parameters_are_refused_with_a_hint(row, message):
    with pytest.raises(UserError, match=message):
        read_constraints([row])


def test_loose_scoring_forgives_an_introduction_a_farewell_and_emphasis():
    wanted = Constraint("starts_with", {"phrase": "Rain"})
    for text in ("Sure, here it is:\nRain falls.", "**Rain** falls.", "Sure:\n*Rain* falls.\nBye"):
        assert not wanted.holds(text)
        assert wanted.holds(text, loose=True)
    assert not wanted.holds("Sure:\nHere:\nRain", loose=True)
    assert loose_forms("a*\nb\nc") == ["a*\nb\nc", "b\nc", "a*\nb", "b", "a\nb\nc", "b\nc", "a\nb", "b"]


def test_all_constraints_of_a_row_must_hold_and_the_verdict_names_those_that_do_not():
    rows = [{"name": "no_commas"}, {"name": "upper_case"}, {"name": "bullet_count", "number": 1}]
    truth = json.dumps({"constraints": rows})
    assert grade_instructions("- ALL GOOD", truth).outcome == "correct"
    found = grade_instructions("- all, bad", truth)
    assert (found.outcome, found.extracted) == ("wrong", "not followed: no_commas, upper_case")
    assert grade_instructions(" ", truth).outcome == "no_answer"
    loose = json.dumps({"constraints": rows, "scoring": "loose"})
    assert grade_instructions("Sure:\n- ALL GOOD", truth).outcome == "wrong"
    assert grade_instructions("Sure:\n- ALL GOOD", loose).outcome == "correct"


@pytest.mark.parametrize(
    "truth", ["", "[]", "{}", '{"constraints": []}', '{"constraints": [{"name": "x"}]}', "3"]
)
def test_a_broken_row_is_the_graders_error(truth):
    assert grade_instructions("text", truth).outcome == "grader_error"


@pytest.mark.parametrize(
    "text", ["[" * 300_000, "*\n" * 150_000, "a-" * 150_000, "<<" * 150_000, "x" * 10**7]
)
def test_hostile_responses_end(text):
    checks = [Constraint(name, parameters) for name, parameters, _, _ in CASES]
    assert len(verdicts(text, checks, loose=True)) == len(checks)


@pytest.mark.parametrize("text", ["." * 50_000 + "a", "<<" + "a" * 50_000, "```" + "\n" * 50_000 + "x"])
def test_a_response_that_repeats_itself_takes_no_quadratic_time(text):
    checks = [Constraint(name, parameters) for name, parameters, _, _ in CASES]
    start = time.process_time()
    verdicts(text, checks)
    assert time.process_time() - start < 2.0  # each of the three took 5 to 70 s before


@pytest.mark.parametrize(
    ("text", "sentences"),
    [("A.。B c", 2), ("A.B c", 1), ("A…!? B", 2), ("A.\".'B C.", 1), ("A.” B", 2), ("A.”B", 2), ("...a", 1)],
)
def test_where_a_run_of_stops_ends_a_sentence(text, sentences):
    assert Constraint("sentence_count", {"least": sentences, "most": sentences}).holds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```json\n\n {}\n```", True),
        ("```\n```", False),
        ("``` {}\n```", False),
        ("```\n\f{}\n```", False),
        ("```JSON \n[1]\n```\n", True),
        ("```\n{}```", False),
    ],
)
def test_json_in_a_fence(text, expected):
    assert Constraint("json_format", {}).holds(text) is expected

"""The grader of a row: math as before, code in the sandbox, instructions by counting."""

import itertools
import json

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation import graders, grading
from cegppo_verl.evaluation.code import grade_code, program_in, truth
from cegppo_verl.toy import code, instruct, pick, words

PROMPT = 'import math\n\ndef area(r):\n    """The area."""\n'
WHOLE = "def area(r):\n    return math.pi * r * r\n"
TESTS = "def check(candidate):\n    assert abs(candidate(1) - 3.14159) < 1e-4\n"
TRUTH = truth(PROMPT, "area", TESTS)


def test_math_rows_are_graded_as_before():
    rows = [*pick.rows("train", "pick", 5, 0), *words.rows("train", "words", 5, 0)]
    for row in rows:
        rule, gold = row["extra_info"]["extract"], row["reward_model"]["ground_truth"]
        assert graders.grader_of(rule) is graders.MATH
        for response in ("123", "the answer is 7", "\\boxed{3}", "", gold):
            assert graders.grade(response, gold, rule) == grading.grade(response, gold, rule)
    assert graders.grader_id() == graders.grader_id("whole") == grading.grader_id()


def test_the_rule_of_a_row_decides_and_a_wrong_one_is_refused():
    assert graders.grader_id("code") == "sandbox+1"
    assert graders.grader_id("instructions") == "constraints+1"
    with pytest.raises(UserError, match="did you mean 'boxed'"):
        graders.grade("1", "1", "boxd")


@pytest.mark.parametrize(
    "response",
    [
        f"Here it is:\n```python\n{WHOLE}```\nDone.",
        f"```\n{WHOLE}",
        f"First a try:\n```python\ndef area(r):\n    return 0\n```\nBetter:\n```python\n{WHOLE}```",
        f"```python\n{WHOLE}```\nUse it so:\n```python\nprint(area(2))\n```",
        WHOLE,
        f"I would write\n{WHOLE}",
        "    return math.pi * r * r\n",
        "return math.pi * r * r",
        "    return math.pi * r * r\n\nprint(area(1) +)\n",
        "```python\n    return math.pi * r * r\n```",
    ],
)
def test_the_program_is_found_in_a_response(response):
    names = {}
    exec(program_in(response, PROMPT, "area"), names)
    assert abs(names["area"](1) - 3.14159) < 1e-4


@pytest.mark.parametrize("response", ["", " \n", "x" * 300_000])
def test_no_code_is_no_answer(response):
    assert grade_code(response, TRUTH).outcome == "no_answer"


def test_code_is_graded_by_its_hidden_tests():
    assert graders.grade(f"```python\n{WHOLE}```", TRUTH, "code").outcome == "correct"
    found = graders.grade("    return 3 * r\n", TRUTH, "code")
    assert (found.outcome, found.correct, found.extracted) == ("wrong", False, "assertion")
    assert graders.grade("I do not know.", TRUTH, "code").extracted == "exception SyntaxError"
    assert graders.grade(WHOLE, "{}", "code").outcome == "grader_error"


def test_reference_solutions_of_every_kind_pass_and_a_stub_does_not():
    kinds = {problem.entry_point: problem for problem in code.problems("validation", 50, 0)}
    assert len(kinds) == len(code.KINDS)
    for problem in kinds.values():
        assert graders.grade(f"```python\n{problem.solution}```", problem.truth, "code").outcome == "correct"
    assert graders.grade("    return None\n", problem.truth, "code").outcome == "wrong"


def test_every_example_follows_its_instructions_and_another_problems_does_not():
    problems = instruct.problems("train", 500, 1)
    assert all(graders.grade(p.example, p.truth, "instructions").correct for p in problems)
    crossed = [
        graders.grade(a.example, b.truth, "instructions").correct for a, b in itertools.pairwise(problems)
    ]
    assert sum(crossed) < len(crossed) / 2


@pytest.mark.parametrize(("task", "extract"), [(code, "code"), (instruct, "instructions")])
def test_generated_rows_are_reproducible_and_their_halves_disjoint(task, extract):
    rows = task.rows("train", "t", 40, 3)
    assert rows == task.rows("train", "t", 40, 3)
    assert rows != task.rows("train", "t", 40, 4)
    assert {row["extra_info"]["extract"] for row in rows} == {extract}
    assert all(json.loads(row["reward_model"]["ground_truth"]) for row in rows)
    halves = [
        {p.question for seed in (0, 1) for p in task.problems(h, 40, seed)} for h in ("train", "validation")
    ]
    assert not halves[0] & halves[1]
    with pytest.raises(UserError, match="ask for 1 to"):
        task.problems("validation", 10_000, 0)


def test_as_many_problems_as_promised_can_be_drawn():
    for task in (code, instruct):
        for half, most in task.MOST.items():
            assert len(task.problems(half, most, 0)) == most

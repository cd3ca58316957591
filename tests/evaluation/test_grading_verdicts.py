"""Verdicts worked out by hand: (response, truth, rule, outcome)."""

import pytest

from cegppo_verl.evaluation.grading import Grader

INTEGERS = [
    (r"so \boxed{540}", "540", "boxed", "correct"),
    (r"so \boxed{541}", "540", "boxed", "wrong"),
    (r"\boxed{033}", "33", "boxed", "correct"),
    (r"\boxed{33}", "033", "boxed", "correct"),
    (r"\boxed{+7}", "7", "boxed", "correct"),
    (r"\boxed{-7}", "7", "boxed", "wrong"),
    (r"\boxed{-7}", "-7", "boxed", "correct"),
    (r"\boxed{-0}", "0", "boxed", "correct"),
    (r"\boxed{ 12 }", "12", "boxed", "correct"),
    (r"\boxed{$12$}", "12", "boxed", "correct"),
    (r"\boxed{\(12\)}", "12", "boxed", "correct"),
    (r"\boxed{12.}", "12", "boxed", "correct"),
    (r"\boxed{{12}}", "12", "boxed", "correct"),
    (r"\boxed {12}", "12", "boxed", "correct"),
    (r"\fbox{12}", "12", "boxed", "correct"),
    (r"\boxed{50\%}", "50", "boxed", "correct"),
    (r"\boxed{1} then \boxed{2}", "2", "boxed", "correct"),
    (r"\boxed{1} then \boxed{2}", "1", "boxed", "wrong"),
    (r"\boxed{x=\boxed{3}}", "3", "boxed", "correct"),
    (r"\boxed{5} and now \boxed{6", "5", "boxed", "correct"),
    (r"{ \boxed{5}", "5", "boxed", "correct"),
    (r"} \boxed{5} }", "5", "boxed", "correct"),
    ("\\boxed{" + "9" * 600 + "}", "9" * 600, "boxed", "correct"),
    ("\\boxed{" + "9" * 600 + "}", "9" * 599 + "8", "boxed", "wrong"),
    (r"\boxed{7}", '["3", "7"]', "boxed", "correct"),
    (r"\boxed{5}", '["3", "7"]', "boxed", "wrong"),
]
NO_ANSWER = [
    ("the answer is 540", "540", "boxed", "no_answer"),
    ("", "540", "boxed", "no_answer"),
    (r"\boxed{}", "540", "boxed", "no_answer"),
    (r"\boxed{ }", "540", "boxed", "no_answer"),
    (r"\boxed{540", "540", "boxed", "no_answer"),
    (r"\boxed 540", "540", "boxed", "no_answer"),
    (r"boxed{540}", "540", "boxed", "no_answer"),
    ("\\boxed{" + "1" * 2000 + "}", "1", "boxed", "no_answer"),
    ("no digits here", "5", "number", "no_answer"),
    (r"5 but \boxed{none}", "5", "number", "no_answer"),
]
NUMBER = [
    ("3 + 4 = 7", "7", "number", "correct"),
    ("3 + 4 = 7", "3", "number", "wrong"),
    (r"1 and 2, so \boxed{7}, not 9", "7", "number", "correct"),
    (r"\boxed{7 apples}", "7", "number", "correct"),
    ("She has 7.", "7", "number", "correct"),
    ("She has $7.", "7", "number", "correct"),
    ("the total is 1,234 eggs", "1234", "number", "correct"),
    ("either 1, 2", "2", "number", "correct"),
    ("10-3", "3", "number", "correct"),
    ("it is -3", "-3", "number", "correct"),
    ("it is -3", "3", "number", "wrong"),
    ("it is 7.0", "7", "number", "correct"),
    ("it is 7.5", "7", "number", "wrong"),
    ("７", "7", "number", "no_answer"),
]
WHOLE = [
    ("159", '["159", "258"]', "whole", "correct"),
    (" 159\n", '["159", "258"]', "whole", "correct"),
    ("951", '["159", "258"]', "whole", "wrong"),
    ("0159", '["159"]', "whole", "no_answer"),
    ("+159", '["159"]', "whole", "no_answer"),
    ("158+1", '["159"]', "whole", "no_answer"),
    ("1 59", '["159"]', "whole", "no_answer"),
    ("159.", '["159"]', "whole", "no_answer"),
    (r"\boxed{159}", '["159"]', "whole", "no_answer"),
    ("159159", '["159"]', "whole", "wrong"),
]
MATHS = [
    (r"\boxed{\frac12}", "0.5", "boxed", "correct"),
    (r"\boxed{1/2}", r"\frac{1}{2}", "boxed", "correct"),
    (r"\boxed{0.5}", "50", "boxed", "wrong"),
    (r"\boxed{\frac{10}{2}}", "5", "boxed", "correct"),
    (r"\boxed{5.0}", "5", "boxed", "correct"),
    (r"\boxed{0.33}", r"\frac13", "boxed", "wrong"),
    (r"\boxed{540.0001}", "540", "boxed", "wrong"),
    (r"\boxed{1,234}", "1234", "boxed", "correct"),
    (r"\boxed{5,6}", "5", "boxed", "wrong"),
    (r"\boxed{5 \text{ or } 6}", "5", "boxed", "wrong"),
    (r"\boxed{\{2,1\}}", r"\{1,2\}", "boxed", "correct"),
    (r"\boxed{(2,1)}", "(1,2)", "boxed", "wrong"),
    (r"\boxed{[1,2)}", "[1,2]", "boxed", "wrong"),
    (r"\boxed{[1,2]}", "[1, 2]", "boxed", "correct"),
    (r"\boxed{x=5}", "5", "boxed", "correct"),
    (r"\boxed{5=6}", "5", "boxed", "wrong"),
    (r"\boxed{2\sqrt{2}}", r"\sqrt{8}", "boxed", "correct"),
    (r"\boxed{x^2+2x+1}", "(x+1)^2", "boxed", "correct"),
    (r"\boxed{x^2+2x}", "(x+1)^2", "boxed", "wrong"),
    (r"\boxed{90^\circ}", "90", "boxed", "correct"),
    (r"\boxed{5\text{ dollars}}", "5", "boxed", "correct"),
    (r"\boxed{\frac{1}{0}}", "1", "boxed", "wrong"),
    (r"\boxed{\pi}", "3.14159", "boxed", "wrong"),
    (r"\boxed{\text{Monday}}", r"\text{Monday}", "boxed", "correct"),
    (r"\boxed{\text{no idea}}", "5", "boxed", "wrong"),
    (r"\boxed{5}", r'["\\frac{10}{2}", "9"]', "boxed", "correct"),
    (r"\boxed{5}", r'["\\frac{10}{3}", "9"]', "boxed", "wrong"),
    # math-verify's own leniency, kept on purpose: an expression counts by its value, a chain by its end.
    (r"\boxed{2+3}", "5", "boxed", "correct"),
    (r"\boxed{6=5}", "5", "boxed", "correct"),
]
BAD_TRUTH = [
    (r"\boxed{5}", "", "boxed", "grader_error"),
    (r"\boxed{5}", "[]", "boxed", "grader_error"),
    (r"\boxed{5}", '[""]', "boxed", "grader_error"),
    (r"\boxed{5}", "}{", "boxed", "grader_error"),
    (r"\boxed{5}", "9" * 20_000, "boxed", "grader_error"),
]


@pytest.fixture(scope="module")
def grader():
    grader = Grader(
        workers=1, seconds=60
    )  # generous: these are about verdicts, on a machine that may be busy
    yield grader
    grader.close()


@pytest.mark.parametrize(("response", "truth", "rule", "outcome"), INTEGERS + NO_ANSWER + NUMBER + WHOLE)
def test_verdicts_that_need_no_sympy(response, truth, rule, outcome, grader, monkeypatch):
    if "." not in response or outcome == "no_answer":
        monkeypatch.setattr(grader._pool, "ask", lambda request: pytest.fail(f"asked math-verify: {request}"))
    verdict = grader.grade(response, truth, rule)
    assert (verdict.outcome, verdict.correct) == (outcome, outcome == "correct")


@pytest.mark.parametrize(("response", "truth", "rule", "outcome"), MATHS + BAD_TRUTH)
def test_verdicts_of_real_mathematics(response, truth, rule, outcome, grader):
    verdict = grader.grade(response, truth, rule)
    assert (verdict.outcome, verdict.correct) == (outcome, outcome == "correct")


def test_the_table_is_large_enough():
    assert len(INTEGERS + NO_ANSWER + NUMBER + WHOLE + MATHS + BAD_TRUTH) >= 60


@pytest.mark.parametrize(
    ("response", "rule", "answer"),
    [
        (r"\boxed{\frac{1}{2}}", "boxed", r"\frac{1}{2}"),
        (r"\boxed{\left\{1\right.}", "boxed", r"\left\{1\right"),
        ("7 of 1,234,567", "number", "1234567"),
        (r"\boxed{none}", "number", ""),
        ("258", "whole", "258"),
    ],
)
def test_extracted_answers(response, rule, answer, grader):
    assert grader.grade(response, "999", rule).extracted == answer


def test_unknown_rule_is_an_error(grader):
    with pytest.raises(KeyError):
        grader.grade("5", "5", "anything")

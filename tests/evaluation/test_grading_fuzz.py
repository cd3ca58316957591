"""Random LaTeX through extraction and the real grader: an outcome, always, and the same one again."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cegppo_verl.evaluation import extract
from cegppo_verl.evaluation.grading import OUTCOMES, Grader

PIECES = st.sampled_from(
    [
        *"0123456789+-*/^_=<>(){}[]|!,.;:% $&\\xy\n",
        *(
            "\\frac{",
            "}{",
            "}",
            "\\sqrt{",
            "\\left(",
            "\\right)",
            "\\pi",
            "\\infty",
            "\\text{",
            "\\cup",
            "\\pm",
        ),
        *(
            "\\boxed{",
            "\\begin{pmatrix}",
            "\\end{pmatrix}",
            "\\\\",
            "\\binom{",
            "\\sum_{k=1}^{",
            "\\log",
            "\\%",
        ),
        *("−", "½", "\u200b", "\ud800", "\0"),
    ]
)
LATEX = st.lists(PIECES, max_size=25).map("".join)
ANYTHING = st.text(max_size=200) | st.text(st.characters(codec=None), max_size=50) | LATEX
TRUTHS = st.sampled_from(["5", "\\frac{1}{2}", "(1,2]", "x^2+1", '["3", "\\\\pi"]', "", "}{"])


@pytest.fixture(scope="module")
def grader():
    grader = Grader(workers=2, seconds=0.3)
    yield grader
    grader.close()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(ANYTHING, TRUTHS)
def test_any_box_gets_an_outcome(grader, inside, truth):
    verdict = grader.grade(f"so \\boxed{{{inside}}}", truth)
    assert verdict.outcome in OUTCOMES
    assert (verdict.outcome == "no_answer") == (verdict.extracted == "")
    assert verdict.correct == (verdict.outcome == "correct")


@settings(max_examples=300, deadline=None)
@given(ANYTHING, st.integers(1, 2000), st.sampled_from(sorted(extract.RULES)))
def test_extraction_of_anything_repeated(text, times, rule):
    answer = extract.extract_answer(text * times, rule)
    assert answer is None or 0 < len(answer) <= extract.MAX_ANSWER


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_what_is_extracted_is_part_of_the_response(text):
    box = extract.last_boxed(text)
    assert box is None or box in text


@settings(max_examples=200, deadline=None)
@given(ANYTHING.filter(lambda text: "boxed" not in text and "fbox" not in text))
def test_without_a_box_there_is_no_answer(text):
    assert extract.extract_answer(text, "boxed") is None

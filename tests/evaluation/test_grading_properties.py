"""What must hold for any input."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from cegppo_verl.evaluation import extract
from cegppo_verl.evaluation.grading import OUTCOMES, Grader, read_truth

integers = st.integers(min_value=-(10**30), max_value=10**30)
NEVER_ASKED = Grader()
NEVER_ASKED._pool.ask = lambda request: "wrong"  # type: ignore[method-assign]


@given(integers, integers, st.integers(0, 5))
def test_integer_verdicts_are_integer_equality(answer, truth, zeros):
    text = f"{'-' if answer < 0 else ''}{'0' * zeros}{abs(answer)}"
    verdict = NEVER_ASKED.grade(f"so \\boxed{{{text}}}", str(truth))
    assert verdict.correct == (answer == truth)


@given(integers)
def test_canonical_integers_are_python_integers(value):
    assert extract.canonical_integer(str(value)) == str(value)


@given(st.text(max_size=50))
def test_canonical_integers_are_ascii_digits_only(text):
    found = extract.canonical_integer(text)
    if found is not None:
        assert text.isascii()
        assert int(text) == int(found)


@given(st.text(alphabet="\\boxed{}1 $.,-", max_size=200), st.sampled_from(sorted(extract.RULES)))
def test_any_response_gets_one_of_the_outcomes(response, rule):
    verdict = NEVER_ASKED.grade(response, "1", rule)
    assert verdict.outcome in OUTCOMES
    assert (verdict.outcome == "no_answer") == (verdict.extracted == "")


@given(st.text(alphabet="{}\\ab1", max_size=60), st.text(alphabet="ab1 ", max_size=20))
def test_a_complete_box_at_the_end_wins_whatever_stands_before(noise, content):
    # An open box in the noise swallows nothing: the last complete one counts. A trailing backslash would
    # escape the box itself.
    response = noise.rstrip("\\") + " \\boxed{" + content + "}"
    assert extract.last_boxed(response) == content


@given(st.lists(integers, min_size=1, max_size=20), integers)
def test_lists_of_answers_accept_each_and_nothing_else(answers, other):
    truth = json.dumps([str(answer) for answer in answers])
    assert all(NEVER_ASKED.grade(f"\\boxed{{{a}}}", truth).correct for a in answers)
    assert NEVER_ASKED.grade(f"\\boxed{{{other}}}", truth).correct == (other in answers)


@given(st.text(max_size=100))
@settings(max_examples=300)
def test_reading_a_truth_never_raises(text):
    read_truth(text)

"""Tasks "pick" and "words": right answers, determinism, train and validation without a common prompt."""

import itertools
import json
import re

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.grading import grade
from cegppo_verl.toy import pick, words

TASKS = {"pick": pick, "words": words}


def texts(rows):
    return [row["prompt"][-1]["content"] for row in rows]


def test_a_pick_prompt_has_exactly_twenty_right_answers_found_by_trying_all_numbers():
    prompt = "926514>"
    right = {
        str(number)
        for number in range(1000)
        if len(set(str(number))) == 3
        and "".join(sorted(str(number))) == str(number)
        and set(str(number)) <= set(prompt[:-1])
    }
    assert set(pick.right_answers(prompt)) == right
    assert len(pick.right_answers(prompt)) == 20


def test_pick_prompts_are_six_distinct_digits_without_zero():
    for prompt in pick.prompts("train", 500, seed=3):
        assert re.fullmatch("[1-9]{6}>", prompt)
        assert len(set(prompt)) == 7


def test_the_two_halves_of_pick_are_all_prompts_and_share_none():
    train, validation = set(pick.all_prompts("train")), set(pick.all_prompts("validation"))
    assert not train & validation
    assert len(train) + len(validation) == 9 * 8 * 7 * 6 * 5 * 4
    assert len(validation) > 3000


def test_train_and_validation_words_never_share_their_numbers():
    keys = {
        half: {p.key for seed in range(3) for p in words.problems(half, 400, seed)}
        for half in ("train", "validation")
    }
    assert not keys["train"] & keys["validation"]
    assert min(map(len, keys.values())) > 20


@pytest.mark.parametrize("seeds", list(itertools.product([0, 1], [0, 1])))
@pytest.mark.parametrize("task", TASKS)
def test_train_and_validation_prompts_are_disjoint_for_any_seeds(task, seeds):
    train = texts(TASKS[task].rows("train", task, 500, seeds[0]))
    validation = texts(TASKS[task].rows("validation", f"{task}-val", 500, seeds[1]))
    assert not set(train) & set(validation)
    assert len(set(train)) == len(set(validation)) == 500


@pytest.mark.parametrize("task", TASKS)
def test_rows_depend_on_the_seed_and_on_nothing_else(task):
    make = TASKS[task].rows
    assert make("train", task, 50, 7) == make("train", task, 50, 7)
    assert texts(make("train", task, 50, 7)) != texts(make("train", task, 50, 8))
    assert texts(make("train", task, 80, 7))[:50] == texts(make("train", task, 50, 7)) or task == "pick"


def test_the_generated_data_stay_what_they_are():
    # A changed generator changes the data of every cell: raise VERSION together with these.
    assert (pick.VERSION, words.VERSION) == (1, 2)
    assert pick.prompts("train", 3, 0) == PICK_TRAIN
    assert words.problems("validation", 2, 0)[1].question == WORDS_VALIDATION


PICK_TRAIN = ["783416>", "254896>", "865973>"]
WORDS_VALIDATION = "David has 6 stones. David buys 3 more stones. How many stones does David have now?"


def recomputed(key):
    kind, *numbers = key.split()
    a, b, c = [*map(int, numbers), 0][:3]
    return {"buy": a + b, "give": a - b, "boxes": a * b, "find-lose": a + b - c}[kind]


def test_word_problems_have_the_answer_of_their_numbers_and_show_all_of_them():
    for problem in words.problems("train", 500, 1):
        assert problem.answer == recomputed(problem.key) >= 0
        assert re.findall(r"\d+", problem.question) == problem.key.split()[1:]


def test_a_word_problem_is_a_chat_with_solved_examples():
    problem = words.problems("train", 1, 0)[0]
    roles = [message["role"] for message in problem.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert problem.messages[-1]["content"] == problem.question
    for question, answer in words.EXAMPLES:
        a, sign, b, _, result = answer.split()
        assert re.findall(r"\d+", question) == [a, b]
        assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b))


@pytest.mark.parametrize("task", TASKS)
def test_a_right_and_a_wrong_answer_are_graded_as_such(task):
    row = TASKS[task].rows("validation", f"{task}-val", 5, 0)[3]
    truth, rule = row["reward_model"]["ground_truth"], row["extra_info"]["extract"]
    right = json.loads(truth)[0] if task == "pick" else truth
    wrong = right[::-1] if task == "pick" else str(int(right) + 1)
    assert grade(right, truth, rule).outcome == "correct"
    assert grade(wrong, truth, rule).outcome == "wrong"


def test_the_row_has_verls_columns():
    row = pick.rows("validation", "pick-val", 2, 0)[1]
    assert row["data_source"] == "pick-val"
    assert row["prompt"][0]["role"] == "user"
    assert row["reward_model"]["style"] == "rule"
    assert row["extra_info"] == {"index": 1, "problem_id": "pick-val/1", "extract": "whole"}


@pytest.mark.parametrize("n", [0, -1, 10**6])
@pytest.mark.parametrize("task", TASKS)
def test_a_number_of_problems_out_of_range_says_what_there_is(task, n):
    with pytest.raises(UserError, match="different train") as error:
        TASKS[task].rows("train", task, n, 0)
    assert "ask for 1 to" in str(error.value)


@pytest.mark.parametrize("half", ["train", "validation"])
def test_as_many_word_problems_as_promised_exist(half):
    assert len(words.problems(half, words.MOST[half], 0)) == words.MOST[half]

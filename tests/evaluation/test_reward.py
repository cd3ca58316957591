"""The reward function as verl calls it: loaded by path, from threads, its dict through verl's own code."""

import asyncio
import importlib.util
import json
from pathlib import Path

import pytest

import cegppo_verl
from cegppo_verl.toy import pick

FILE = Path(cegppo_verl.__file__).parent / "verl_plugin" / "reward.py"


@pytest.fixture(scope="module")
def compute_score():
    spec = importlib.util.spec_from_file_location("custom_module", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.compute_score


def test_it_returns_score_and_the_strings_of_the_samples(compute_score):
    row = pick.rows("validation", "pick-val", 1, seed=0)[0]
    answer = pick.right_answers(row["prompt"][0]["content"])[0]
    found = compute_score(
        row["data_source"], answer, row["reward_model"]["ground_truth"], row["extra_info"], reward_router=None
    )
    assert found == {
        "score": 1.0,
        "acc": 1.0,
        "outcome": "correct",
        "problem_id": "pick-val/0",
        "extracted": answer,
        "grader": "math-verify-0.9.0+1",
        "benchmark": "pick-val",
    }


@pytest.mark.parametrize(
    ("response", "outcome"), [(r"\boxed{5}", "correct"), (r"\boxed{6}", "wrong"), ("5", "no_answer")]
)
def test_without_extra_info_the_answer_is_boxed(compute_score, response, outcome):
    found = compute_score("aime24", response, "5")
    assert (found["outcome"], found["acc"]) == (outcome, float(outcome == "correct"))
    assert found["problem_id"] == "aime24/?"


def test_extracted_can_always_be_dumped(compute_score):
    found = compute_score("x", "\\boxed{\ud800" + "y" * 500 + "}", "\\text{z}")
    assert len(found["extracted"]) <= 200
    json.dumps(found, ensure_ascii=False).encode()


def test_strings_survive_verls_reward_manager_and_validation_metrics(compute_score):
    from verl.trainer.ppo import metric_utils as metrics

    async def gathered():
        loop = asyncio.get_running_loop()
        calls = [
            loop.run_in_executor(None, lambda a=a: compute_score("b", a, "5", {"problem_id": "b/0"}))
            for a in (r"\boxed{5}", r"\boxed{6}", "")
        ]
        return await asyncio.gather(*calls)

    results = asyncio.run(gathered())
    infos = {key: [result[key] for result in results] for key in results[0]}
    found = metrics.process_validation_metrics(["b"] * 3, ["u0"] * 3, infos)
    assert found["b"]["acc"]["mean@3"] == pytest.approx(1 / 3)
    assert set(found["b"]) == {"acc", "score"}
    assert infos["outcome"] == ["correct", "wrong", "no_answer"]


def test_rows_of_code_and_instructions_go_to_their_graders(compute_score):
    from cegppo_verl.toy import code, instruct

    for task, grader in ((code, "sandbox+1"), (instruct, "constraints+1")):
        row = task.rows("validation", "toy-val", 1, 0)[0]
        problem = task.problems("validation", 1, 0)[0]
        right = problem.solution if task is code else problem.example
        for response, score in ((right, 1.0), ("No.", 0.0)):
            found = compute_score("toy-val", response, row["reward_model"]["ground_truth"], row["extra_info"])
            assert (found["score"], found["grader"], found["benchmark"]) == (score, grader, "toy-val")

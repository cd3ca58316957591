"""Rewards worked out by hand, DAPO's Eq. 13, and verl's own managers on the same responses."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.rewards import Overlong, correctness, overlong
from cegppo_verl.verl_plugin.reward import compute_score

DAPO = Overlong(longest=20_480, buffer=4_096)


@pytest.mark.parametrize(
    ("values", "right", "wrong"), [("zero-one", 1.0, 0.0), ("plus-minus-one", 1.0, -1.0)]
)
def test_rewards_for_correctness(values, right, wrong):
    assert (correctness(True, values), correctness(False, values)) == (right, wrong)


def test_an_unknown_reward_names_the_nearest():
    with pytest.raises(UserError) as error:
        correctness(True, "zero-on")
    assert "zero-one" in error.value.hint


@pytest.mark.parametrize(
    ("length", "punishment"),
    [(0, 0.0), (16_384, 0.0), (16_385, -1 / 4096), (18_432, -0.5), (20_480, -1.0), (30_000, -1.0)],
)
def test_soft_overlong_punishment_at_dapos_constants(length, punishment):
    assert overlong(length, DAPO) == punishment


def test_the_factor_scales_the_punishment_and_its_floor():
    assert overlong(90, Overlong(100, 20, 0.5)) == -0.25
    assert overlong(200, Overlong(100, 20, 0.5)) == -0.5


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(1, 40_000), st.data(), st.integers(0, 100_000))
def test_longer_is_never_better(longest, data, length):
    shape = Overlong(longest, data.draw(st.integers(1, longest)))
    assert -1 <= overlong(length + 1, shape) <= overlong(length, shape) <= 0


@pytest.mark.parametrize("shape", [(100, 0), (100, 101), (100, -1), (100, 10, 0.0), (100, 10, float("nan"))])
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(UserError):
        Overlong(*shape)


def score(response, tokens, **options):
    return compute_score("b", response, "5", {"response_tokens": tokens}, **options)


def test_options_of_the_reward_function():
    assert score("\\boxed{6}", 10)["score"] == 0.0
    found = score("\\boxed{6}", 10, values="plus-minus-one")
    assert (found["score"], found["acc"]) == (-1.0, 0.0)
    assert "overlong" not in found
    found = score("\\boxed{5}", 90, values="plus-minus-one", overlong_buffer=20, max_response_length=100)
    assert (found["score"], found["acc"], found["overlong"]) == (0.5, 1.0, -0.5)


def test_shaping_without_a_count_of_tokens_is_an_error():
    with pytest.raises(UserError, match="number of tokens"):
        compute_score("b", "\\boxed{5}", "5", {}, overlong_buffer=20, max_response_length=100)


class Characters:
    """A tokenizer: one token is one character."""

    def decode(self, ids, skip_special_tokens=True):
        return "".join(chr(i) for i in ids if i)


def managed(manager, name, responses, **reward):
    """Rewards and extra fields of ``responses`` by one of verl's managers, with verl's own loading."""
    from omegaconf import OmegaConf
    from verl.trainer.ppo.reward import load_reward_manager

    from cegppo_verl.verl_plugin import reward as module

    function = {"path": module.__file__, "name": "compute_score", **reward.pop("function", {})}
    chosen = {"source": "register", "name": name, "module": {"path": None}, **manager}
    config = {"reward": {"custom_reward_function": function, "reward_manager": chosen, **reward}}
    loaded = load_reward_manager(OmegaConf.create(config), Characters())

    async def run():
        loaded.loop = asyncio.get_running_loop()
        return [await loaded.run_single(batch(text)) for text in responses]

    return asyncio.run(run())


def batch(text, width=64):
    import torch
    from verl import DataProto

    ids = torch.zeros(1, width, dtype=torch.int64)
    ids[0, : len(text)] = torch.tensor([ord(c) for c in text])
    mask = torch.cat([torch.ones(1, 3, dtype=torch.int64), (ids > 0).long()], dim=1)
    others = {"data_source": "b", "reward_model": {"ground_truth": "5"}, "extra_info": {"problem_id": "b/0"}}
    columns = {key: np.array([value], dtype=object) for key, value in others.items()}
    return DataProto.from_dict(tensors={"responses": ids, "attention_mask": mask}, non_tensors=columns)


RESPONSES = ["x" * n + "\\boxed{5}" for n in (0, 30, 31, 40, 51)] + ["x" * 60]


def test_the_counting_manager_and_dapos_give_the_same_rewards():
    from cegppo_verl.verl_plugin import reward_manager

    ours = managed(
        {"source": "importlib", "module": {"path": reward_manager.__file__}},
        "CountingRewardManager",
        RESPONSES,
        function={
            "reward_kwargs": {"overlong_buffer": 20, "max_response_length": 60, "overlong_factor": 0.5}
        },
    )
    buffer = {"enable": True, "len": 20, "penalty_factor": 0.5, "log": False}
    dapos = managed({}, "dapo", RESPONSES, reward_kwargs={"overlong_buffer_cfg": buffer, "max_resp_len": 60})
    assert [float(r["reward_score"]) for r in dapos] == pytest.approx([r["reward_score"] for r in ours])
    assert [r["reward_score"] for r in ours] == pytest.approx([1.0, 1.0, 1.0, 0.775, 0.5, -0.5])
    assert {r["reward_extra_info"]["problem_id"] for r in ours} == {"b/0"}


def test_options_reach_the_function_through_verls_plain_manager():
    found = managed({}, "naive", RESPONSES, function={"reward_kwargs": {"values": "plus-minus-one"}})
    assert [r["reward_score"] for r in found] == [1.0] * 5 + [-1.0]

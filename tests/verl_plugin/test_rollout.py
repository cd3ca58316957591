"""Grouped rollouts store and score what verl's own worker would."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
import torch
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.trainer.ppo.v1 import agent_loop_tq

from cegppo_verl.verl_plugin import rollout
from cegppo_verl.verl_plugin.rollout import GroupedAgentLoopWorker, score_request

PROMPT: dict[str, Any] = {
    "uid": "u1",
    "raw_prompt": [{"role": "user", "content": "312546>"}],
    "global_steps": 3,
    "data_source": "pick",
    "reward_model": {"style": "rule", "ground_truth": "123"},
    "extra_info": {"index": 0, "problem_id": "pick/0"},
}


def output(response: list[int], reward: float | None = None) -> AgentLoopOutput:
    return AgentLoopOutput(
        prompt_ids=[5, 6, 7],
        response_ids=response,
        response_mask=[1] * len(response),
        response_logprobs=[-0.5] * len(response),
        reward_score=reward,
        num_turns=2,
        metrics=AgentLoopMetrics(),
        extra_fields={"raw_prompt": PROMPT["raw_prompt"], "min_global_steps": 2, "max_global_steps": 2},
    )


@pytest.fixture
def worker() -> Any:
    made = object.__new__(GroupedAgentLoopWorker)
    made.processor, made.distillation_enabled, made.reward_loop_worker_handles = None, False, None
    made.mm_processor_kwargs = {}
    return made


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    async def put(**call: Any) -> None:
        calls.append(call)

    monkeypatch.setattr(rollout.tq, "async_kv_batch_put", put)
    assert agent_loop_tq.tq is rollout.tq
    return calls


def by_verl(worker: Any, outputs: list[AgentLoopOutput]) -> None:
    for session, one in enumerate(outputs):
        prompt = {**copy.deepcopy(PROMPT), "session_id": session}
        asyncio.run(worker._agent_loop_postprocess(one, False, **prompt))


def test_one_write_per_prompt_holds_what_verl_writes_per_rollout(worker, written):
    outputs = [output([8, 9], 1.0), output([8, 9, 10], 0.0)]
    by_verl(worker, copy.deepcopy(outputs))
    asyncio.run(worker._write(outputs, copy.deepcopy(PROMPT), "train"))
    *single, grouped = written
    assert grouped["keys"] == [call["keys"][0] for call in single]
    assert grouped["tags"] == [call["tags"][0] for call in single]
    assert grouped["partition_id"] == "train"
    for row, call in enumerate(single):
        same_row(grouped["fields"][row], call["fields"][0])


def same_row(ours: Any, theirs: Any) -> None:
    assert set(ours.keys()) == set(theirs.keys())
    for key in theirs.keys():  # noqa: SIM118 - a TensorDict iterates over rows
        mine, verls = ours.get(key), theirs.get(key)
        if isinstance(verls, torch.Tensor):
            assert torch.equal(mine, verls), key
        else:
            assert getattr(mine, "data", mine) == getattr(verls, "data", verls), key


def test_the_reward_worker_sees_the_rows_that_verl_would_send(worker):
    """Right-padded, with a mask that ends where each response ends: verl's manager counts on it."""
    request = score_request([output([8, 9]), output([8, 9, 10])], copy.deepcopy(PROMPT))
    assert request.batch["responses"].tolist() == [[8, 9, 0], [8, 9, 10]]
    assert request.batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6]
    width = request.batch["responses"].shape[1]
    lengths = request.batch["attention_mask"][:, -width:].sum(1)
    assert lengths.tolist() == [2, 3]
    assert list(request.non_tensor_batch["data_source"]) == ["pick", "pick"]


def test_rows_share_no_mutable_field(worker):
    """verl's reward manager writes into extra_info; a shared one would mix up the group."""
    request = score_request([output([8]), output([9])], copy.deepcopy(PROMPT))
    first, second = request.non_tensor_batch["extra_info"]
    first["num_turns"] = 7
    assert "num_turns" not in second

"""verl's agent loop with the work of a prompt's n rollouts done once per prompt (written against verl 0.9.1).

For a small model a rollout is almost all Python: verl's worker builds an agent loop through Hydra, asks the
load balancer, calls the reward worker and writes to TransferQueue once per rollout, about 14 ms of one core.
Here the loop is built once per worker, and scoring and writing are one call per prompt. What is generated,
scored and written is the same. Name the manager in
``actor_rollout_ref.rollout.agent.agent_loop_manager_class``.

Anything but verl's plain single-turn loop (tools, images, distillation, tracing) takes verl's own way.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
import time
from typing import Any, TypeAlias

import hydra
import numpy as np
import ray
import torch
import transfer_queue as tq
from verl.experimental.agent_loop import agent_loop as verl_loop
from verl.protocol import DataProto
from verl.trainer.ppo.v1.agent_loop_tq import (
    AgentLoopManagerTQ,
    AgentLoopWorkerTQ,
    apply_greedy_sampling_params,
)
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

PLAIN = "single_turn_agent"
Output: TypeAlias = Any  # verl's AgentLoopOutput
logger = logging.getLogger(__name__)

_VerlWorker: Any = AgentLoopWorkerTQ.__ray_metadata__.modified_class


class GroupedAgentLoopWorker(_VerlWorker):
    """verl's worker for TransferQueue, grouped by prompt."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plain_loop: Any = None
        if _replicas(self.config) == 1:
            _ask_server_once(self.llm_client)

    async def _run_prompt(
        self, prompt: dict, sampling_params: dict, trajectory: dict, trace: bool = False
    ) -> None:
        """All rollouts of one prompt; its status becomes "finished" or "failure" after all of them."""
        if trace or self.distillation_enabled or self.processor is not None or prompt["agent_name"] != PLAIN:
            await super()._run_prompt(prompt, sampling_params, trajectory, trace)
            return
        uid, partition = prompt["uid"], "val" if trajectory["validate"] else "train"
        await tq.async_kv_put(key=uid, partition_id=partition, tag={"status": "running"})
        try:
            await self._run_group(prompt, sampling_params, trajectory["validate"], partition)
            status = "finished"
        except Exception:
            logger.exception("rollouts of prompt %s failed", uid)
            status = "failure"
        await tq.async_kv_put(key=uid, partition_id=partition, tag={"status": status})

    async def _run_group(self, prompt: dict, sampling_params: dict, validate: bool, partition: str) -> None:
        rollout = self.config.actor_rollout_ref.rollout
        n = prompt.pop("__rollout_n__", rollout.val_kwargs.n if validate else rollout.n)
        params = dict(sampling_params)
        if not prompt.pop("__do_sample__", True) and not validate:
            apply_greedy_sampling_params(params)
        prompt.pop("agent_name")
        loop = self._loop()
        tasks = [asyncio.create_task(loop.run(dict(params), session_id=i, **prompt)) for i in range(n)]
        # Wait for all, so that no sibling writes after the replay buffer has cleared a failed group.
        results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [r for r in results if isinstance(r, BaseException)]
        if errors:
            raise errors[0]
        await self._score(results, prompt)
        await self._write(results, prompt, partition)

    def _loop(self) -> Any:
        """verl's single-turn loop. It holds no state of a rollout, so one serves them all."""
        if self._plain_loop is None:
            self._plain_loop = hydra.utils.instantiate(
                config=verl_loop._agent_loop_registry[PLAIN],
                trainer_config=verl_loop.DictConfigWrap(config=self.config),
                server_manager=self.llm_client,
                tokenizer=self.tokenizer,
                processor=self.processor,
                hf_model_type=self.hf_model_type,
                dataset_cls=self.dataset_cls,
                data_config=verl_loop.DictConfigWrap(self.config.data),
                tools=verl_loop.ToolListWrap(self.tools),
            )
        return self._plain_loop

    async def _score(self, outputs: list[Output], prompt: dict) -> None:
        """One call to a reward worker for the whole group."""
        for output in outputs:
            output.extra_fields["raw_prompt"] = prompt["raw_prompt"]
        if self.reward_loop_worker_handles is None:
            return
        started = time.perf_counter()
        worker = random.choice(self.reward_loop_worker_handles)
        for output, result in zip(
            outputs, await worker.compute_score_batch.remote(score_request(outputs, prompt)), strict=True
        ):
            output.reward_score = result["reward_score"]
            output.extra_fields["reward_extra_info"] = result["reward_extra_info"]
            output.metrics.compute_score = time.perf_counter() - started

    async def _write(self, outputs: list[Output], prompt: dict, partition: str) -> None:
        """One write to TransferQueue for the whole group; keys are verl's, ``{uid}_{session}_{index}``."""
        fields = [self._field(output, {**prompt, "session_id": i}) for i, output in enumerate(outputs)]
        await tq.async_kv_batch_put(
            keys=[f"{prompt['uid']}_{i}_0" for i in range(len(outputs))],
            fields=list_of_dict_to_tensordict(fields),
            tags=[_tag(field, prompt["global_steps"]) for field in fields],
            partition_id=partition,
        )

    def _field(self, output: Output, kwargs: dict) -> dict:
        """What verl's ``_agent_loop_postprocess`` stores of one output."""
        field = {**output.as_dict(), **kwargs}
        field.pop("multi_modal_data", None)
        field["input_ids"] = torch.cat([field["prompts"], field["responses"]])
        field["position_ids"] = torch.arange(len(field["input_ids"]))
        field["loss_mask"] = field["response_mask"]
        field["multi_modal_inputs"] = {}
        return field


def score_request(outputs: list[Output], prompt: dict) -> DataProto:
    """The group as verl's reward manager expects it: one row per output, right-padded with zeros."""
    n = len(outputs)
    prompts = torch.tensor([o.prompt_ids for o in outputs], dtype=torch.int64)
    responses = _pad([torch.tensor(o.response_ids, dtype=torch.int64) for o in outputs])
    response_mask = _pad([torch.ones(len(o.response_ids), dtype=torch.int64) for o in outputs])
    attention_mask = torch.cat([torch.ones_like(prompts), response_mask], dim=1)
    tensors = {
        "prompts": prompts,
        "responses": responses,
        "attention_mask": attention_mask,
        "input_ids": torch.cat([prompts, responses], dim=1),
        "position_ids": attention_mask.cumsum(1) - 1,
    }
    # A copy per row: the reward manager writes into extra_info.
    others = {key: _column([copy.copy(value) for _ in range(n)]) for key, value in prompt.items()}
    others["__num_turns__"] = np.array([o.num_turns for o in outputs])
    others["tool_extra_fields"] = _column([o.extra_fields for o in outputs])
    return DataProto.from_dict(tensors=tensors, non_tensors=others)


def _pad(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)


def _column(values: list[Any]) -> np.ndarray:
    """An object array with one entry per row, whatever the entries are (numpy would unpack lists)."""
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return column


def _tag(field: dict, global_steps: Any) -> dict:
    prompt_len, response_len = len(field["prompts"]), len(field["responses"])
    return {
        "status": "success",
        "prompt_len": prompt_len,
        "response_len": response_len,
        "seq_len": prompt_len + response_len,
        "global_steps": global_steps,
        "min_global_steps": field["extra_fields"].get("min_global_steps"),
        "max_global_steps": field["extra_fields"].get("max_global_steps"),
    }


def _replicas(config: Any) -> int:
    """Number of rollout servers: the GPUs over those of one engine."""
    rollout, trainer = config.actor_rollout_ref.rollout, config.trainer
    per_engine = rollout.tensor_model_parallel_size * rollout.get("data_parallel_size", 1)
    per_engine *= rollout.get("pipeline_model_parallel_size", 1)
    return trainer.nnodes * trainer.n_gpus_per_node // per_engine


def _ask_server_once(client: Any) -> None:
    """With one server there is nothing to balance: ask for it once instead of twice per rollout."""
    acquire = client._acquire_server
    asked: dict[str, asyncio.Task] = {}

    async def acquire_once(request_id: str, **extra: Any) -> Any:
        if "server" not in asked:
            asked["server"] = asyncio.create_task(acquire(request_id, **extra))
        return await asked["server"]

    client._acquire_server = acquire_once
    client._release_server = lambda *_args, **_kwargs: None


class GroupedAgentLoopManager(AgentLoopManagerTQ):
    """verl's manager with the grouped worker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(GroupedAgentLoopWorker)

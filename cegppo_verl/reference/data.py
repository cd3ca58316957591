"""Problems as token ids, and the order in which a run sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import Tensor

from cegppo_verl.errors import UserError
from cegppo_verl.toy.model import SPECIALS, byte_vocabulary


@dataclass(frozen=True)
class Problem:
    """One row of verl's parquet format."""

    benchmark: str
    identity: str
    prompt: str
    truth: str
    extract: str


def read_problems(file: Path) -> list[Problem]:
    """Every problem of a table that ``toy.assets`` made."""
    return [
        Problem(
            benchmark=row["data_source"],
            identity=row["extra_info"]["problem_id"],
            prompt="".join(message["content"] for message in row["prompt"]),  # as the chat template does
            truth=row["reward_model"]["ground_truth"],
            extract=row["extra_info"]["extract"],
        )
        for row in pq.read_table(file).to_pylist()
    ]


def encode(problems: Sequence[Problem]) -> Tensor:
    """Prompts as ids, (problems, length).

    Raises:
        UserError: prompts of unequal length; the loop has no padding.
    """
    lengths = {len(problem.prompt) for problem in problems}
    if len(lengths) > 1:
        hint = "train on task 'pick', whose prompts have one length, or through verl"
        raise UserError(f"prompts of {len(lengths)} different lengths", hint=hint)
    ids = byte_vocabulary()
    return torch.tensor([[ids[character] for character in problem.prompt] for problem in problems])


def decode(ids: Sequence[int]) -> str:
    """The text of response ids, special tokens left out."""
    from tokenizers.decoders import ByteLevel

    return ByteLevel().decode([_symbols()[i] for i in ids if _symbols()[i] not in SPECIALS])


@cache
def _symbols() -> dict[int, str]:
    return {index: symbol for symbol, index in byte_vocabulary().items()}


def source(purpose: str, *parts: int) -> torch.Generator:
    """A random generator for one purpose of a run; no two purposes or seeds share a stream."""
    digest = hashlib.sha256("/".join(map(str, (purpose, *parts))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def batches(count: int, size: int, seed: int) -> Iterator[list[int]]:
    """Indices of the problems of each step: every epoch in a new order, the last, smaller batch dropped."""
    order = source("order", seed)
    while True:
        shuffled = torch.randperm(count, generator=order).tolist()
        yield from (shuffled[at : at + size] for at in range(0, count - size + 1, size))

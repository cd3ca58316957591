"""The shape of a dense Qwen model: its parameters, how it may be split, the memory that training takes."""

from __future__ import annotations

from cegppo_verl.experiment.settings import Whole
from cegppo_verl.experiment.validation import Strict

# Per parameter: master weight, gradient and two Adam moments in fp32, all sharded by FSDP over every GPU.
TRAINING_BYTES = 16


class Architecture(Strict):
    """As in the ``config.json`` of the published weights."""

    layers: Whole
    hidden: Whole
    intermediate: Whole
    heads: Whole
    kv_heads: Whole
    head_dim: Whole
    vocabulary: Whole
    tied: bool

    @property
    def parameters(self) -> int:
        """Weights without biases and norms, which are less than 0.01 % of them."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.intermediate
        embeddings = (1 if self.tied else 2) * self.vocabulary * self.hidden
        return self.layers * layer + embeddings

    def training_bytes(self, gpus: int, tokens: int) -> int:
        """Upper estimate of a GPU's memory in an update, in bytes, with gradient checkpointing.

        Args:
            gpus: that share the training state.
            tokens: of a micro-batch that lie on one GPU.

        Weights, gradients and moments; the inputs of all layers in bf16; and the logits three times: in
        bf16, their gradient in bf16, and in fp32 for the log-probabilities.
        """
        state = TRAINING_BYTES * self.parameters // gpus
        inputs = 2 * self.layers * self.hidden * tokens
        logits = (2 + 2 + 4) * self.vocabulary * tokens
        return state + inputs + logits

    def splits_problem(self, tensor_parallel: int, sequence_parallel: int) -> tuple[str, str] | None:
        """Which of the two cannot split the heads, and why; None when both can."""
        if self.heads % tensor_parallel or not _divides(tensor_parallel, self.kv_heads):
            return "tensor_parallel", self._heads(tensor_parallel)
        if self.heads % sequence_parallel or not _divides(sequence_parallel, self.kv_heads):
            return "sequence_parallel", self._heads(sequence_parallel)
        return None

    def _heads(self, parts: int) -> str:
        return f"{parts} does not split {self.heads} attention heads and {self.kv_heads} key/value heads"


def _divides(parts: int, heads: int) -> bool:
    """vLLM and verl's Ulysses split the key/value heads, or repeat them where there are fewer than parts."""
    return heads % parts == 0 or parts % heads == 0

"""Byte tokenizer and a small Qwen2, with a forward pass in plain torch for quick training.

The folders written here are ordinary Hugging Face folders: transformers, verl and vLLM load them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from cegppo_verl.toy.recipes import HEAD_DIM, ToyRecipe

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PAD_ID, EOS_ID = 256, 258
# 256 bytes + 3 specials, not rounded up: vLLM never samples an id that the tokenizer lacks, the trainer gives
# it probability, and the two would differ by that mass (7e-4 nats per token with 320, measured).
VOCAB_SIZE = 259
MAX_POSITIONS = 256
ROPE_BASE = 10_000.0
NORM_EPS = 1e-6
# Messages are concatenated as they are: the prompt "159823>" stays seven tokens long.
CHAT_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"

Parameters = dict[str, torch.Tensor]
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Attention in a layer: (its number, q, k, v), each (batch, heads, length, HEAD_DIM) → the shape of q."""


@cache
def byte_vocabulary() -> dict[str, int]:
    """Token text to id: the 256 byte symbols in the order of their characters, then the specials.

    One token per byte and no merges, because AutoTokenizer rebuilds a Qwen2Tokenizer from vocabulary and
    merges alone; Qwen tokenizers need "\\n" as one token and ``<|im_end|>``.
    """
    from tokenizers import pre_tokenizers

    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *SPECIALS]
    return {symbol: index for index, symbol in enumerate(symbols)}


def new_tokenizer() -> Any:
    """A Qwen2Tokenizer over bytes; ids are fixed ("1" is 16, ">" is 29, ``<|im_end|>`` is 258)."""
    from transformers import Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer(
        vocab=byte_vocabulary(),
        merges=[],
        unk_token=SPECIALS[0],
        pad_token=SPECIALS[0],
        eos_token=SPECIALS[2],
        additional_special_tokens=list(SPECIALS[1:]),
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def new_model(recipe: ToyRecipe) -> Any:
    """A Qwen2ForCausalLM (float32, tied embeddings) with weights drawn from ``recipe.seed`` alone."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=recipe.hidden,
        intermediate_size=3 * recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=NORM_EPS,
        tie_word_embeddings=True,
        bos_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    model = Qwen2ForCausalLM(config).float()
    _draw_weights(model, recipe)
    return model


def _draw_weights(model: Any, recipe: ToyRecipe) -> None:
    """Matrices normal(0, init_std), biases 0, norms 1, in the order of their names (not the library's)."""
    source = torch.Generator().manual_seed(recipe.seed)
    with torch.no_grad():
        for name, tensor in sorted(model.named_parameters()):
            if tensor.ndim == 2:
                tensor.copy_(torch.randn(tensor.shape, generator=source) * recipe.init_std)
            else:
                tensor.fill_(0.0 if name.endswith("bias") else 1.0)


def parameters(model: Any) -> Parameters:
    """The model's parameters by their Hugging Face names; training them trains the model."""
    return dict(model.named_parameters())


def causal(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention of complete sequences."""
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def forward(
    weights: Parameters, ids: torch.Tensor, first: int = 0, *, start: int = 0, attend: Attend = causal
) -> torch.Tensor:
    """Logits of Qwen2 for unpadded sequences.

    Args:
        weights: from :func:`parameters`.
        ids: token ids, (batch, length).
        first: leave out the logits of positions before this one.
        start: position of the first id in its sequence, where ``attend`` knows what came before it.

    Returns:
        Logits, (batch, length - first, VOCAB_SIZE).
    """
    embedding = weights["model.embed_tokens.weight"]
    hidden = embedding[ids]
    cos, sin = _rotary(start, ids.shape[1])
    layers = sum(name.endswith("o_proj.weight") for name in weights)
    for index in range(layers):
        hidden = _layer(weights, index, hidden, cos, sin, attend)
    return functional.linear(_norm(hidden[:, first:], weights["model.norm.weight"]), embedding)


def _rotary(start: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    frequency = ROPE_BASE ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    angle = torch.outer(torch.arange(start, start + length).float(), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def _norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, weight.shape, weight, NORM_EPS)


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], -1) * sin


def _layer(
    w: Parameters, index: int, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, attend: Attend
) -> torch.Tensor:
    at = f"model.layers.{index}."
    batch, length, width = x.shape

    def heads(name: str) -> torch.Tensor:
        out = functional.linear(normed, w[f"{at}self_attn.{name}.weight"], w[f"{at}self_attn.{name}.bias"])
        return out.view(batch, length, -1, HEAD_DIM).transpose(1, 2)

    normed = _norm(x, w[at + "input_layernorm.weight"])
    q, k = _turn(heads("q_proj"), cos, sin), _turn(heads("k_proj"), cos, sin)
    mixed = attend(index, q, k, heads("v_proj"))
    x = x + functional.linear(
        mixed.transpose(1, 2).reshape(batch, length, width), w[at + "self_attn.o_proj.weight"]
    )
    normed = _norm(x, w[at + "post_attention_layernorm.weight"])
    gate = functional.silu(functional.linear(normed, w[at + "mlp.gate_proj.weight"]))
    return x + functional.linear(
        gate * functional.linear(normed, w[at + "mlp.up_proj.weight"]), w[at + "mlp.down_proj.weight"]
    )


def save(model: Any, folder: Path) -> None:
    """Write model and tokenizer as a Hugging Face folder."""
    model.save_pretrained(folder)
    new_tokenizer().save_pretrained(folder)

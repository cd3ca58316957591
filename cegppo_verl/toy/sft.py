"""Supervised training of a toy base model on noisy demonstrations of task "pick", and its measurement.

Same seed, same torch build and same kind of CPU: the same weights, bit for bit (one thread, see
``ToyRecipe.threads``). On another CPU or torch, sums are rounded differently and the weights differ in the
last bits at first, visibly at the end; the measured numbers on the card are those of the weights beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from cegppo_verl.toy import pick
from cegppo_verl.toy.model import (
    EOS_ID,
    VOCAB_SIZE,
    Parameters,
    byte_vocabulary,
    forward,
    new_model,
    parameters,
)
from cegppo_verl.toy.recipes import ToyRecipe

PROMPT_LENGTH = pick.PROMPT_DIGITS + len(pick.PROMPT_END)
MAX_NEW_TOKENS = 6
Report = Callable[[str], None]


def train(recipe: ToyRecipe, report: Report) -> Any:
    """Build and train the model that ``recipe`` describes; a Qwen2ForCausalLM."""
    with _threads(recipe.threads):
        model = new_model(recipe)
        tokens = demonstrations(recipe)
        weights = parameters(model)
        optimiser = torch.optim.AdamW(
            weights.values(), betas=(0.9, 0.95), weight_decay=recipe.weight_decay, fused=True
        )
        for step, batch in enumerate(tokens.split(recipe.batch)):
            loss = _train_step(weights, optimiser, batch, _learning_rate(recipe, step))
            if step % 20 == 0 or step == recipe.steps - 1:
                report(f"step {step + 1}/{recipe.steps}, loss {loss:.3f}")
    return model


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _learning_rate(recipe: ToyRecipe, step: int) -> float:
    """Linear warm-up, then linear decay to a tenth."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return recipe.learning_rate * warm * (1 - 0.9 * step / recipe.steps)


def _train_step(
    weights: Parameters, optimiser: torch.optim.Optimizer, batch: torch.Tensor, lr: float
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = lr
    logits = forward(weights, batch[:, :-1], first=PROMPT_LENGTH - 1)
    loss = functional.cross_entropy(logits.reshape(-1, VOCAB_SIZE), batch[:, PROMPT_LENGTH:].reshape(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss.item()


def _encode(texts: list[str]) -> torch.Tensor:
    ids = byte_vocabulary()
    return torch.tensor([[ids[character] for character in text] for text in texts])


def demonstrations(recipe: ToyRecipe) -> torch.Tensor:
    """All training sequences in the order they are used.

    Returns:
        Token ids (steps * batch, 11): prompt, three digits, end of message. Prompts of the train half only.
    """
    rng = np.random.default_rng([recipe.seed, recipe.version])
    count = recipe.steps * recipe.batch
    pool = _encode(list(pick.all_prompts("train"))).numpy()
    chosen = pool[rng.integers(len(pool), size=count)]
    answers = rng.permuted(chosen[:, : pick.PROMPT_DIGITS], axis=1)[:, : pick.ANSWER_DIGITS]
    right = rng.random(count) < recipe.right_share
    answers[right] = np.sort(answers[right], axis=1)  # ids of digits increase with the digits
    end = np.full((count, 1), EOS_ID)
    return torch.from_numpy(np.concatenate([chosen, answers, end], axis=1))


def measure(model: Any, samples: int = 2048, seed: int = 0) -> dict[str, float]:
    """Accuracy at temperature 1 and policy entropy on validation prompts, one sample each.

    Returns:
        ``accuracy`` (share of right answers), ``entropy`` (nats per token of the response, end of message
        included: mean of the full-vocabulary entropy) and ``samples``.
    """
    prompts = pick.prompts("validation", samples, seed)
    with torch.no_grad(), _threads(1):
        responses, entropy = _sample(parameters(model), _encode(prompts), seed)
    right = sum(_is_right(p, r) for p, r in zip(prompts, responses, strict=True))
    return {"accuracy": right / samples, "entropy": entropy, "samples": samples}


def _sample(weights: Parameters, ids: torch.Tensor, seed: int) -> tuple[list[list[int]], float]:
    """Responses as token ids up to and including the end token, and the mean entropy per response token."""
    source = torch.Generator().manual_seed(seed)
    alive = torch.ones(len(ids), dtype=torch.bool)
    responses: list[list[int]] = [[] for _ in range(len(ids))]
    total, count = 0.0, 0
    for _ in range(MAX_NEW_TOKENS):
        logp = forward(weights, ids, first=ids.shape[1] - 1)[:, 0].log_softmax(-1)
        total += -(logp.exp() * logp).sum(-1)[alive].sum().item()
        count += int(alive.sum())
        drawn = torch.multinomial(logp.exp(), 1, generator=source)
        for row in alive.nonzero()[:, 0].tolist():
            responses[row].append(int(drawn[row]))
        ids = torch.cat([ids, drawn], 1)
        alive &= drawn[:, 0] != EOS_ID
    return responses, total / count


def _is_right(prompt: str, response: list[int]) -> bool:
    symbols = {index: symbol for symbol, index in byte_vocabulary().items()}
    if not response or response[-1] != EOS_ID:
        return False
    return "".join(symbols.get(i, "?") for i in response[:-1]) in pick.right_answers(prompt)

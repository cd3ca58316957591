"""Sampled and graded responses, and what they are worth relative to their group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cegppo_verl.evaluation.graders import grade
from cegppo_verl.evaluation.grading import Verdict
from cegppo_verl.reference.data import Problem, decode
from cegppo_verl.reference.past import Past
from cegppo_verl.toy.model import EOS_ID, PAD_ID, Parameters


@dataclass(frozen=True)
class Decoding:
    """How responses are drawn: n per prompt, at most ``length`` tokens; temperature 0 is greedy."""

    n: int
    temperature: float
    length: int


@dataclass(frozen=True)
class Responses:
    """n responses per prompt, side by side; tensors (prompts × n, longest response) unless said otherwise.

    Attributes:
        prompts: (prompts, prompt length) ids.
        ids: PAD_ID after the end token. mask: True up to and including the end token.
        log_prob: of each token under the policy that drew it, at its temperature, nats.
        entropy: of that distribution over the whole vocabulary, nats.
    """

    prompts: Tensor
    ids: Tensor
    mask: Tensor
    log_prob: Tensor
    entropy: Tensor

    @property
    def lengths(self) -> Tensor:
        """(prompts × n,) tokens per response."""
        return self.mask.sum(-1)

    def texts(self) -> list[str]:
        """The responses as text."""
        return [decode(row[kept].tolist()) for row, kept in zip(self.ids, self.mask, strict=True)]


@torch.no_grad()
def respond(weights: Parameters, prompts: Tensor, how: Decoding, source: torch.Generator) -> Responses:
    """Draw responses to (prompts, length) ids."""
    shared = Past()
    logits = shared.read(weights, prompts)[:, -1].repeat_interleave(how.n, 0)
    past, alive = shared.repeated(how.n), torch.ones(len(logits), dtype=torch.bool)
    columns: list[tuple[Tensor, ...]] = []
    for place in range(how.length):
        if place:
            logits = past.read(weights, columns[-1][0][:, None])[:, -1]
        drawn, log_prob, entropy = _draw(logits, how.temperature, source)
        columns.append((drawn.masked_fill(~alive, PAD_ID), alive, log_prob, entropy))
        alive = alive & (drawn != EOS_ID)
        if not alive.any():
            break
    ids, mask, log_probs, entropies = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    return Responses(prompts, ids, mask, log_probs, entropies)


def _draw(logits: Tensor, temperature: float, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, their log-probabilities and the entropy of each row's distribution."""
    log_probs = (logits / (temperature or 1.0)).log_softmax(-1)
    probs = log_probs.exp()
    drawn = torch.multinomial(probs, 1, generator=source) if temperature else probs.argmax(-1, keepdim=True)
    return drawn[:, 0], log_probs.gather(1, drawn)[:, 0], -(probs * log_probs).sum(-1)


def graded(problems: Sequence[Problem], responses: Responses) -> list[Verdict]:
    """A verdict per response."""
    n = len(responses.ids) // len(problems)
    texts = responses.texts()
    asked = [problem for problem in problems for _ in range(n)]
    return [grade(text, p.truth, p.extract) for p, text in zip(asked, texts, strict=True)]


def group_advantages(scores: Tensor, n: int, by_std: bool) -> Tensor:
    """Â of GRPO (arXiv 2402.03300, §4.1.2), as verl 0.9.1 computes it: (score − mean) / (std + 1e-6).

    Args:
        scores: (prompts × n,). by_std: False leaves the division out (arXiv 2503.20783).
    """
    groups = scores.view(-1, n)
    centred = groups - groups.mean(1, keepdim=True)
    return (centred / (groups.std(1, keepdim=True) + 1e-6) if by_std else centred).view(-1)

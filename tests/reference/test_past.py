"""Reading a prompt once for all its responses changes neither logits nor gradients."""

from __future__ import annotations

import torch

from cegppo_verl.reference.past import Past
from cegppo_verl.toy import model as toy_model
from cegppo_verl.toy.recipes import TOY

PROMPTS, TIMES, LENGTH, NEW = 3, 4, 7, 5


def weights() -> toy_model.Parameters:
    return toy_model.parameters(toy_model.new_model(TOY["toy-xs"]))


def ids(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    prompts = torch.randint(0, 259, (PROMPTS, LENGTH), generator=source)
    return prompts, torch.randint(0, 259, (PROMPTS * TIMES, NEW), generator=source)


def shared(w: toy_model.Parameters, prompts: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    past = Past()
    first = past.read(w, prompts)[:, -1:].repeat_interleave(TIMES, 0)
    return torch.cat([first, past.repeated(TIMES).read(w, new)], 1)


def whole(w: toy_model.Parameters, prompts: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    sequences = torch.cat([prompts.repeat_interleave(TIMES, 0), new], 1)
    return toy_model.forward(w, sequences, first=LENGTH - 1)


def test_logits_are_those_of_the_whole_sequence() -> None:
    w = weights()
    torch.testing.assert_close(shared(w, *ids()), whole(w, *ids()), rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_whole_sequence() -> None:
    w = weights()
    found = [
        torch.autograd.grad(form(w, *ids()).log_softmax(-1).square().mean(), list(w.values()))
        for form in (shared, whole)
    ]
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


def test_reading_token_by_token_is_reading_at_once() -> None:
    w, (prompts, _) = weights(), ids()
    past = Past()
    with torch.no_grad():
        steps = torch.cat([past.read(w, prompts[:, [place]]) for place in range(LENGTH)], 1)
        torch.testing.assert_close(steps, toy_model.forward(w, prompts), rtol=1e-4, atol=1e-4)
    assert past.length == LENGTH

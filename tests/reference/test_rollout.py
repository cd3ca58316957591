"""Responses end where they should, carry the policy's own probabilities, and are worth what verl says."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from verl.trainer.ppo import core_algos

from cegppo_verl.errors import UserError
from cegppo_verl.reference import data
from cegppo_verl.reference.data import Problem
from cegppo_verl.reference.rollout import Decoding, Responses, graded, group_advantages, respond
from cegppo_verl.toy import model as toy_model
from cegppo_verl.toy.recipes import TOY

HOW = Decoding(n=4, temperature=1.0, length=6)


@pytest.fixture(scope="module")
def weights() -> toy_model.Parameters:
    return toy_model.parameters(toy_model.new_model(TOY["toy-xs"]))


def problems(count: int) -> list[Problem]:
    truth = '["124", "125"]'
    return [Problem("pick", f"pick/{i}", f"{12345 + i}6>", truth, "whole") for i in range(count)]


def test_what_is_drawn_has_the_policys_probability_and_entropy(weights: toy_model.Parameters) -> None:
    prompts = data.encode(problems(5))
    found = respond(weights, prompts, HOW, data.source("test"))
    sequences = torch.cat([prompts.repeat_interleave(HOW.n, 0), found.ids[:, :-1]], 1)
    log_probs = toy_model.forward(weights, sequences, first=prompts.shape[1] - 1).log_softmax(-1)
    expected = log_probs.gather(2, found.ids[..., None])[..., 0]
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    for ours, theirs in ((found.log_prob, expected), (found.entropy, entropy)):
        torch.testing.assert_close(ours[found.mask], theirs[found.mask], rtol=1e-4, atol=1e-4)


def test_a_response_ends_with_its_end_token(weights: toy_model.Parameters) -> None:
    likely = dict(weights)  # the tied embedding of the end token, ten times as large, is drawn often
    likely["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"].detach().clone()
    likely["model.embed_tokens.weight"][toy_model.EOS_ID] *= 10
    found = respond(likely, data.encode(problems(40)), HOW, data.source("test"))
    assert len(set(found.lengths.tolist())) > 1
    for row, mask in zip(found.ids.tolist(), found.mask.tolist(), strict=True):
        length = sum(mask)
        assert mask == [True] * length + [False] * (len(mask) - length)
        assert toy_model.EOS_ID not in row[: length - 1]
        assert row[length - 1] == toy_model.EOS_ID or length == HOW.length
        assert set(row[length:]) <= {toy_model.PAD_ID}


def test_greedy_draws_the_likeliest(weights: toy_model.Parameters) -> None:
    how = Decoding(n=2, temperature=0.0, length=3)
    found = respond(weights, data.encode(problems(3)), how, data.source("test"))
    assert torch.equal(found.ids[0::2], found.ids[1::2])


def test_advantages_are_verls() -> None:
    scores = torch.tensor([1.0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1])
    index = np.repeat(["a", "b", "c"], 4)
    for by_std in (True, False):
        expected, _ = core_algos.compute_grpo_outcome_advantage(
            scores[:, None], torch.ones(12, 1), index, norm_adv_by_std_in_grpo=by_std
        )
        torch.testing.assert_close(group_advantages(scores, 4, by_std), expected[:, 0])


def test_text_goes_through_the_common_grader() -> None:
    ids = toy_model.byte_vocabulary()
    eos = toy_model.EOS_ID
    texts = ["124", "125", "126", ""]
    rows = [[ids[c] for c in text] + [eos] + [toy_model.PAD_ID] * (3 - len(text)) for text in texts]
    tensor = torch.tensor(rows)
    mask = torch.tensor([[place <= len(text) for place in range(4)] for text in texts])
    zeros = torch.zeros(mask.shape)
    responses = Responses(data.encode(problems(1)), tensor, mask, zeros, zeros)
    assert responses.texts() == texts
    assert [verdict.outcome for verdict in graded(problems(1), responses)] == [
        "correct",
        "correct",
        "wrong",
        "no_answer",
    ]


def test_an_epoch_sees_every_problem_once_and_seeds_differ() -> None:
    order = data.batches(20, 4, seed=1)
    epochs = [[next(order) for _ in range(5)] for _ in range(2)]
    assert [sorted(chain.from_iterable(epoch)) for epoch in epochs] == [list(range(20))] * 2
    assert epochs[0] != epochs[1]
    assert next(data.batches(20, 4, seed=2)) != epochs[0][0]


def test_prompts_of_unequal_length_are_refused() -> None:
    two = [Problem("x", "x/0", "12>", "1", "whole"), Problem("x", "x/1", "123>", "1", "whole")]
    with pytest.raises(UserError, match="different lengths"):
        data.encode(two)

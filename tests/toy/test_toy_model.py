"""Toy base models: tokenizer, forward pass against transformers, training and building."""

import json
import math
from dataclasses import replace

import pytest
import torch

from cegppo_verl.toy import build, pick, sft
from cegppo_verl.toy import model as toy_model
from cegppo_verl.toy.recipes import HEAD_DIM, TOY

QUICK = replace(TOY["toy-xs"], steps=3, batch=16)


def quiet(line):
    pass


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy-xs")
    return folder, build.build_toy("toy-xs", QUICK, folder)


@pytest.fixture(scope="module")
def tokenizer(built):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(built[0])


def test_token_ids_are_stable_and_survive_auto_tokenizer(tokenizer):
    assert tokenizer("159>").input_ids == [16, 20, 24, 29]
    assert len(tokenizer("\n").input_ids) == 1
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (toy_model.EOS_ID, toy_model.PAD_ID)
    assert len(tokenizer) == toy_model.VOCAB_SIZE


def test_every_byte_goes_there_and_back(tokenizer):
    text = "abc 123 \\boxed{é} 漢\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_chat_template_leaves_a_prompt_as_it_is(tokenizer):
    message = [{"role": "user", "content": "159823>"}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert text == "159823>"
    assert sft._encode([text])[0].tolist() == tokenizer(text).input_ids


@pytest.mark.parametrize("name", TOY)
def test_the_plain_forward_pass_is_transformers_own(name):
    model = toy_model.new_model(TOY[name]).eval()
    ids = torch.randint(0, 259, (3, 11), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        torch.testing.assert_close(
            toy_model.forward(toy_model.parameters(model), ids), expected, rtol=1e-4, atol=1e-4
        )
        tail = toy_model.forward(toy_model.parameters(model), ids, first=6)
    torch.testing.assert_close(tail, expected[:, 6:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("toy-xs", 0.2e6, 0.3e6), ("toy-s", 0.8e6, 1e6), ("toy-m", 2.5e6, 3.5e6)]
)
def test_sizes(name, low, high):
    assert low < sum(tensor.numel() for tensor in toy_model.new_model(TOY[name]).parameters()) < high
    assert TOY[name].hidden == TOY[name].heads * HEAD_DIM


def test_demonstrations_are_train_prompts_with_the_stated_share_of_right_answers():
    tokens = sft.demonstrations(replace(QUICK, steps=40, batch=100))
    symbols = {i: s for s, i in toy_model.byte_vocabulary().items()}
    texts = ["".join(symbols[i] for i in row[:-1]) for row in tokens.tolist()]
    prompts, answers = [t[:7] for t in texts], [t[7:] for t in texts]
    train = set(pick.all_prompts("train"))
    assert all(prompt in train for prompt in prompts)
    assert all(set(a) <= set(p) and len(set(a)) == 3 for p, a in zip(prompts, answers, strict=True))
    right = sum(a in pick.right_answers(p) for p, a in zip(prompts, answers, strict=True)) / 4000
    assert right == pytest.approx(0.4 + 0.6 / 6, abs=0.03)  # 4 standard errors
    assert (tokens[:, -1] == toy_model.EOS_ID).all()


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others():
    def weights(recipe):
        return torch.cat([p.detach().flatten() for p in sft.train(recipe, quiet).parameters()])

    first = weights(QUICK)
    assert torch.equal(first, weights(QUICK))
    assert not torch.equal(first, weights(replace(QUICK, seed=1)))


def test_training_reduces_the_loss():
    lines = []
    sft.train(replace(QUICK, steps=21), lines.append)
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert losses[-1] < losses[0] - 1.0


def test_training_leaves_the_callers_thread_count_alone():
    before = torch.get_num_threads()
    sft.train(QUICK, quiet)
    assert torch.get_num_threads() == before


def test_the_card_has_recipe_and_measured_numbers(built):
    folder, card = built
    assert json.loads((folder / build.CARD).read_text()) == card
    assert card["recipe"]["seed"] == QUICK.seed
    assert 0 <= card["measured"]["accuracy"] < 0.2  # three steps teach nothing
    assert 1.0 < card["measured"]["entropy"] < 5.6  # ln 259 = 5.56


def test_the_folder_loads_as_an_ordinary_model(built):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(built[0])
    assert (model.config.model_type, model.dtype) == ("qwen2", torch.float32)
    assert model.generation_config.eos_token_id == toy_model.EOS_ID


def test_measuring_agrees_with_the_grader(monkeypatch):
    from cegppo_verl.evaluation.grading import grade

    prompt = "926514>"
    for text in ("126", "621", "12", "1269", "1 2", "026"):
        ids = [toy_model.byte_vocabulary().get(c, 300) for c in text]
        truth = json.dumps(pick.right_answers(prompt))
        assert sft._is_right(prompt, [*ids, toy_model.EOS_ID]) == grade(text, truth, "whole").correct
    assert not sft._is_right(prompt, sft._encode(["126"])[0].tolist())  # never ended


def test_measured_entropy_of_a_uniform_policy_is_the_log_of_the_vocabulary():
    model = toy_model.new_model(QUICK)
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
    measured = sft.measure(model, samples=64)
    assert measured["entropy"] == pytest.approx(math.log(toy_model.VOCAB_SIZE), abs=1e-3)

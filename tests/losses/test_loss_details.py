"""What the contract does not say: parameter ranges, hostile padding, values, scale, what the room imports."""

import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from losses.loss_contract import PAPER, batch

from cegppo_verl.losses import cegppo, parameters, ppo_clip, regions, weighted
from cegppo_verl.losses.registry import LOSSES

PARAMS = cegppo.Params(**PAPER)


def weight(tokens):
    return cegppo.weight(tokens, PARAMS)


def tensors(seed=0):
    log_ratio, advantages, mask = batch(seed=seed)
    old = torch.full_like(log_ratio, -1.0)
    return old, (old + log_ratio).requires_grad_(), advantages, mask


# --- parameters


@pytest.mark.parametrize("missing", ["beta1", "beta2"])
def test_the_weights_have_no_default(missing):
    with pytest.raises(TypeError, match=missing):
        cegppo.Params(**{k: v for k, v in PAPER.items() if k != missing})


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("beta1", -0.1),
        ("beta1", None),
        ("beta1", float("nan")),
        ("beta2", float("inf")),
        ("beta2", "1"),
        ("beta2", True),
        ("epsilon_low", 1.0),
        ("epsilon_low", -0.01),
        ("epsilon_high", -0.01),
        ("dual_clip", 1.0),
        ("dual_clip", 0.0),
    ],
)
def test_out_of_range_is_refused_by_name(name, bad):
    with pytest.raises(ValueError, match=name):
        cegppo.Params(**{**PAPER, name: bad})


def test_the_ends_of_the_ranges_are_allowed():
    lowest = parameters.EPSILON_LOWEST
    cegppo.Params(beta1=0, beta2=7.5, epsilon_low=lowest, epsilon_high=lowest, dual_clip=1.0001)
    cegppo.Params(beta1=cegppo.BETA_MAX, beta2=0, epsilon_low=0.999, epsilon_high=5.0)


@pytest.mark.parametrize(
    ("value", "meant"),
    [(20, "not a percentage: write 0.2"), (1.2, "not a bound: write 0.2"), (0.9, "above 0"), (3e-4, "GSPO")],
)
def test_an_epsilon_out_of_range_says_what_was_probably_meant(value, meant):
    assert meant in parameters.specs(cegppo.Params)["epsilon_low"].why(value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**PAPER, "beta3": 1.0}, "unknown parameter beta3; there are: beta1, beta2"),
        ({"beta2": 1.0}, "beta1 is required: share of the edge gradient"),
        ({**PAPER, "beta2": None}, "beta2 is required"),
    ],
)
def test_unknown_and_missing_names_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        parameters.from_values(cegppo.Params, values)


@pytest.mark.parametrize("name", LOSSES)
def test_every_parameter_says_what_it_is_and_where_its_default_comes_from(name):
    for key, spec in parameters.specs(LOSSES[name].params).items():
        assert spec.symbol, key
        assert spec.doc, key
        assert spec.source, f"{key} has no source"
        if spec.required:
            assert spec.example is not None, f"{key} is required and suggests nothing"
        else:
            assert spec.problem(spec.default) == "", key


@pytest.mark.parametrize("name", LOSSES)
def test_every_range_is_kept_at_both_ends(name):
    for key, spec in parameters.specs(LOSSES[name].params).items():
        if spec.choices:
            assert spec.problem("no such word"), key
            continue
        assert spec.problem(spec.low - 1e-6), key
        assert bool(spec.problem(spec.low)) == spec.open_low, key
        assert spec.problem(float("nan")), key
        assert spec.problem(float("inf")), key
        assert bool(spec.problem(None)) != spec.nullable, key
        if spec.high != float("inf"):
            assert spec.problem(spec.high) == "", key
            assert spec.problem(spec.high * 1.001 + 1e-6), key


TOKEN_LEVEL = [
    (name, key)
    for name in LOSSES
    for key, spec in parameters.specs(LOSSES[name].params).items()
    if spec.unit == parameters.DISTANCE
]


@pytest.mark.parametrize(("name", "key"), TOKEN_LEVEL)
@pytest.mark.parametrize(("bad", "reason"), [(3e-4, "GSPO"), (-0.1, "")])
def test_no_distance_from_the_token_ratio_is_of_gspos_size_or_negative(name, key, bad, reason):
    params = LOSSES[name].params
    known = parameters.specs(params)
    given = {k: spec.example for k, spec in known.items() if spec.required} | {key: bad}
    with pytest.raises(ValueError, match=f"^{key} ") as error:
        parameters.from_values(params, given)
    assert known[key].why, "a grid's error has no reason to show"
    assert reason in f"{error.value} {known[key].why(bad)}"


# --- regions


def test_regions_by_hand():
    ratio = torch.tensor([0.5, 0.5, 0.5, 0.75, 1.0, 1.25, 2.0, 2.0, 2.0, float("nan")])
    adv = torch.tensor([-1.0, 1.0, 0.0, -1.0, 1.0, 1.0, -1.0, 1.0, 0.0, 1.0])
    low, high = 0.25, 0.25  # bounds .75 and 1.25, exact in binary: both bounds are inside
    found = {
        "neg_below": regions.neg_below(ratio, adv, low),
        "pos_above": regions.pos_above(ratio, adv, high),
        "neg_above": regions.neg_above(ratio, adv, high),
        "pos_below": regions.pos_below(ratio, adv, low),
        "inside": regions.inside(ratio, low, high),
    }
    assert {k: v.nonzero().flatten().tolist() for k, v in found.items()} == {
        "neg_below": [0],
        "pos_above": [7],
        "neg_above": [6],
        "pos_below": [1],
        "inside": [3, 4, 5],
    }
    assert tuple(found) == regions.NAMES


# --- hostile tensors


def test_padding_may_hold_nan_and_infinity():
    old, log_prob, advantages, mask = tensors()
    clean = weighted.row_losses(old, log_prob, advantages, mask, weight)
    for bad in (float("nan"), float("inf"), -float("inf")):
        dirty_log_prob = log_prob.detach().masked_fill(~mask, bad).requires_grad_()
        dirty = [t.masked_fill(~mask, bad) for t in (old, advantages)]
        scale = torch.ones_like(old).masked_fill(~mask, bad)
        rows = weighted.row_losses(dirty[0], dirty_log_prob, dirty[1], mask, weight, scale=scale)
        rows.sum().backward()
        assert torch.equal(rows, clean)
        assert torch.all(dirty_log_prob.grad[~mask] == 0)
        assert torch.isfinite(dirty_log_prob.grad).all()


def test_nan_in_a_live_token_is_not_hidden():
    old, log_prob, advantages, mask = tensors()
    log_prob = log_prob.detach().clone()
    log_prob[0, 0] = float("nan")
    assert mask[0, 0]
    assert weighted.row_losses(old, log_prob, advantages, mask, weight)[0].isnan()


@pytest.mark.parametrize(("infinite", "advantage", "kept"), [(-1, -1.0, 0.4), (1, 1.0, 1.2)])
def test_infinite_log_ratios_keep_their_gradient(infinite, advantage, kept):
    old, adv = torch.zeros(1, 1), torch.full((1, 1), advantage)
    log_prob = torch.full((1, 1), infinite * float("inf")).requires_grad_()
    weighted.row_losses(old, log_prob, adv, torch.ones(1, 1), weight).sum().backward()
    assert log_prob.grad.item() == pytest.approx(-kept * advantage)


@pytest.mark.parametrize("shape", [(3, 5), (0, 5), (3, 0)])
def test_nothing_to_learn_from_is_zero(shape):
    log_prob = torch.zeros(shape, requires_grad=True)
    rows = weighted.row_losses(
        torch.zeros(shape), log_prob, torch.ones(shape), torch.zeros(shape, dtype=torch.bool), weight
    )
    rows.sum().backward()
    assert torch.equal(rows, torch.zeros(shape[0]))
    assert torch.equal(log_prob.grad, torch.zeros(shape))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="share one shape"):
        weighted.row_losses(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 1), torch.ones(2, 3), weight)
    with pytest.raises(ValueError, match="share one shape"):
        weighted.row_losses(*(torch.zeros(3) for _ in range(4)), weight)


def test_integer_and_float_masks_mean_the_same():
    old, log_prob, advantages, mask = tensors()
    expected = weighted.row_losses(old, log_prob, advantages, mask, weight)
    for kind in (torch.int64, torch.float32):
        assert torch.equal(weighted.row_losses(old, log_prob, advantages, mask.to(kind), weight), expected)


# --- the function that turns a weight into a loss


def test_scale_multiplies_value_and_gradient():
    old, log_prob, advantages, mask = tensors()
    scale = torch.rand_like(old) + 0.5
    rows = weighted.row_losses(old, log_prob, advantages, mask, weight, scale=scale)
    w = torch.cat([weight(tokens) for tokens in weighted.blocks(old, log_prob, advantages, mask)])
    expected = -(w * advantages * mask * scale)
    torch.testing.assert_close(rows, expected.sum(-1), rtol=1e-12, atol=0)
    rows.sum().backward()
    torch.testing.assert_close(log_prob.grad, expected, rtol=1e-12, atol=0)


def test_a_graph_kept_alive_can_be_used_twice():
    old, log_prob, advantages, mask = tensors()
    total = weighted.row_losses(old, log_prob, advantages, mask, weight).sum()
    (first,) = torch.autograd.grad(total, log_prob, retain_graph=True)
    (second,) = torch.autograd.grad(3 * total, log_prob)
    torch.testing.assert_close(second, 3 * first, rtol=1e-15, atol=0)


def test_only_log_prob_gets_a_gradient():
    old, log_prob, advantages, mask = tensors()
    old.requires_grad_(), advantages.requires_grad_()
    weighted.row_losses(old, log_prob, advantages, mask, weight).sum().backward()
    assert log_prob.grad is not None
    assert old.grad is None
    assert advantages.grad is None


@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_ppo_clip_value_and_gradient(dual_clip):
    values = {"epsilon_low": 0.2, "epsilon_high": 0.28, "dual_clip": dual_clip}
    params = SimpleNamespace(**values)  # verl's dual clip cannot be off; the formula's can
    old, log_prob, advantages, mask = tensors()
    log_prob = (old + 3 * (log_prob - old)).detach().requires_grad_()  # far enough for δ > 3
    rows = weighted.row_losses(
        old,
        log_prob,
        advantages,
        mask,
        partial(ppo_clip.weight, params=params),
        value=partial(ppo_clip.value, params=params),
    )
    (gradient,) = torch.autograd.grad(rows.sum(), log_prob)
    ratio = (log_prob - old).exp()
    per_token = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
    if dual_clip is not None:
        assert ((ratio > dual_clip) & (advantages < 0) & mask).any()
        per_token = torch.where(advantages < 0, torch.maximum(per_token, dual_clip * advantages), per_token)
    expected = -(per_token * mask).sum(-1)
    torch.testing.assert_close(rows, expected, rtol=1e-12, atol=0)
    (by_autograd,) = torch.autograd.grad(expected.sum(), log_prob)
    torch.testing.assert_close(gradient, by_autograd, rtol=1e-9, atol=1e-15)


# --- the room


def test_losses_need_torch_and_nothing_else():
    code = (
        "import sys, pkgutil, importlib, cegppo_verl.losses as room\n"
        "for module in pkgutil.iter_modules(room.__path__):\n"
        "    importlib.import_module(f'cegppo_verl.losses.{module.name}')\n"
        "heavy = {'verl', 'ray', 'vllm', 'transformers', 'pandas', 'pydantic', 'omegaconf', 'scipy'}\n"
        "own = {m for m in sys.modules if m.startswith('cegppo_verl.') and '.losses' not in m}\n"
        "print(sorted((heavy & set(sys.modules)) | own))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_losses_import_without_torch():
    code = (
        "import sys, pkgutil, importlib\n"
        "sys.modules['torch'] = None\n"
        "import cegppo_verl.losses as room\n"
        "for module in pkgutil.iter_modules(room.__path__):\n"
        "    if module.name != 'weighted':\n"  # the one that runs a loss
        "        importlib.import_module(f'cegppo_verl.losses.{module.name}')\n"
        "from cegppo_verl.losses.registry import LOSSES\n"
        "from cegppo_verl.losses.parameters import specs\n"
        "print(sum(bool(specs(loss.params)) for loss in LOSSES.values()) > 3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"

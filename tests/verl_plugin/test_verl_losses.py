"""verl's own losses, wrapped: not a bit of value or gradient changes, and the stated weights are verl's."""

import functools
import inspect
import itertools

import pytest
import torch
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig
from verl_plugin.adapter_cases import call

from cegppo_verl.losses import weighted
from cegppo_verl.losses.parameters import specs
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.verl_plugin import policy_loss
from cegppo_verl.verl_plugin.config import LossConfig

policy_loss.register()  # verl's plugin loader has done it; twice is fine

NAMES = [name for name, loss in LOSSES.items() if loss.runs]
VERLS = {LOSSES[name].runs for name in NAMES}
# Settings in which both sides of every bound are visited and no two numbers are equal.
PARAMS = {
    "grpo": [{"epsilon": 0.2, "dual_clip": 2.0}],
    "dapo": [{"epsilon_low": 0.1, "epsilon_high": 0.4, "dual_clip": 2.0}],
    "gspo": [{}, {"epsilon_low": 0.02, "epsilon_high": 0.05}],
    "sapo": [{}, {"tau_pos": 2.0, "tau_neg": 3.5}],
    "gpg": [{}],
    "cispo": [{"epsilon_high": 0.2}, {"epsilon_low": 0.1, "epsilon_high": 0.4}],
    "dppo_tv": [{}, {"tv_low": 0.02, "tv_high": 0.05, "truncation": 1.5}],
    "dppo_kl": [{}, {"kl_low": 0.001, "kl_high": 0.004, "truncation": 1.5}],
    "geo_mean": [{}, {"log_low": 0.1, "log_high": 0.3}],
    "clip_cov": [
        {},
        {"clip_cov_ratio": 0.1, "cov_low": 0.1, "cov_high": 2.0, "epsilon_low": 0.2, "epsilon_high": 0.3},
    ],
    "kl_cov": [{}, {"kl_cov_ratio": 0.1, "coefficient": 0.5}],
    "dro": [{"beta": 0.1}],
}
CASES = [(name, params) for name in NAMES for params in PARAMS[name]]
WEIGHTED = [(name, params) for name, params in CASES if LOSSES[name].weight is not None]
INFOS = (
    {},
    {"dp_size": 4, "batch_num_tokens": 777, "global_batch_size": 48, "loss_scale_factor": None},
    {"dp_size": 2, "batch_num_tokens": 500, "global_batch_size": 12, "loss_scale_factor": 128},
)
MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")


def tensors(seed, dtype=torch.float64, per_token=True, spread=0.5):
    """(log π_old, log π, Â, mask): ragged rows, one of them empty, no probability above 1."""
    g = torch.Generator().manual_seed(seed)
    draw = functools.partial(torch.randn, generator=g, dtype=torch.float64)
    rows, length = 8, 40
    old = -0.05 - draw(rows, length).abs()
    log_prob = (old + spread * draw(rows, length)).clamp(max=-0.01)
    advantages = draw(rows, length) if per_token else draw(rows, 1).expand(rows, length).clone()
    mask = torch.arange(length)[None] < torch.randint(1, length + 1, (rows, 1), generator=g)
    mask[3] = False
    weights = torch.rand(rows, length, generator=g, dtype=torch.float64) + 0.5
    old, log_prob, advantages, weights = (t.to(dtype) for t in (old, log_prob, advantages, weights))
    return (old, log_prob.requires_grad_(), advantages, mask), weights


def actor(name, params, info=None):
    """The ActorConfig that a grid's settings lead to: only what ``Loss.verl`` says is set."""
    loss = LOSSES[name]
    settings = loss.verl(loss.params(**params)) if loss.verl else {}
    inner = {k.removeprefix("policy_loss."): v for k, v in settings.items() if k.startswith("policy_loss.")}
    outer = {k: v for k, v in settings.items() if not k.startswith("policy_loss.")}
    policy = LossConfig(loss_mode=loss.runs, algorithm=name, params=params, **inner)
    base = {"strategy": "fsdp", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 1}
    config = ActorConfig(**base, policy_loss=policy, **outer)
    config.global_batch_info.update(info or {})
    return config


def bare(name):
    return getattr(core_algos, f"compute_policy_loss_{LOSSES[name].runs}")


# --- not a bit changes


def test_every_loss_of_verl_is_declared_and_wrapped():
    defined = inspect.getsource(core_algos).split('@register_policy_loss("')[1:]
    assert {source.split('"')[0] for source in defined} - {"bypass_mode"} == VERLS  # it dispatches to vanilla
    assert len(VERLS) == 11
    for name in NAMES:
        registered = core_algos.POLICY_LOSS_REGISTRY[LOSSES[name].runs]
        assert registered is not bare(name)
        assert inspect.unwrap(registered) is bare(name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "params"), CASES)
def test_wrapping_changes_no_bit(name, params, dtype):
    for seed, info, with_weights in itertools.product(range(3), INFOS, (False, True)):
        mode = LOSSES[name].loss_agg_mode or MODES[seed]
        batch, weights = tensors(seed, dtype)
        before = [t.detach().clone() for t in batch]
        results = []
        for loss in (bare(name), core_algos.get_policy_loss_fn(LOSSES[name].runs)):
            torch.manual_seed(seed)  # clip_cov draws tokens at random
            config = actor(name, params, info)
            result = call(loss, *batch, mode, config, weights if with_weights else None)
            results.append((*result, torch.rand(3)))
        (value, gradient, metrics, drawn), (value_2, gradient_2, metrics_2, drawn_2) = results
        assert torch.equal(value, value_2)
        assert torch.equal(gradient, gradient_2)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0
        assert torch.equal(drawn, drawn_2)  # the wrapper draws no random numbers
        assert metrics.items() <= metrics_2.items()
        assert all(torch.equal(a, b.detach()) for a, b in zip(before, batch, strict=True))


def test_clip_covs_choice_follows_the_generator():
    """Two seeds give two gradients: otherwise the test above would not see a disturbed generator."""
    (batch, _), params = tensors(0), PARAMS["clip_cov"][1]
    gradients = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        gradients.append(call(bare("clip_cov"), *batch, "token-mean", actor("clip_cov", params))[1])
    assert not torch.equal(*gradients)


# --- the stated weights are verl's gradient


def stated(name, params, batch, mode, info, weights):
    """∂loss/∂log π as the weight says it, through verl's reduction."""
    loss = LOSSES[name]
    log_prob, mask = batch[1], batch[3]
    product = torch.zeros_like(log_prob)
    for tokens in weighted.blocks(*batch):
        product[tokens.rows] = weighted.product(tokens, loss.bound(loss.params(**params)))
    if name == "geo_mean":
        lengths = mask.sum(-1, keepdim=True)
        shared = ((weights.log() * mask).sum(-1, keepdim=True) / lengths.clamp(min=1)).exp()
        return -product * shared / lengths.clamp(min=1) / len(mask)
    reduction = "seq-mean-token-mean" if name == "sapo" else mode
    total = core_algos.agg_loss(-product * weights * log_prob, mask, reduction, **info)
    return torch.autograd.grad(total, log_prob)[0]


@pytest.mark.parametrize("per_token", [True, False], ids=["token_advantages", "sequence_advantages"])
@pytest.mark.parametrize(("name", "params"), WEIGHTED)
def test_the_weight_is_verls_gradient(name, params, per_token):
    spread, dropped = 0.1 if name == "gspo" else 0.5, []
    for seed, mode, info in itertools.product(range(4), MODES, INFOS):
        batch, weights = tensors(seed, per_token=per_token, spread=spread)
        expected = call(bare(name), *batch, mode, actor(name, params, info), weights)[1]
        got = stated(name, params, batch, mode, info, weights)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-300)
        dropped.append((expected[batch[3]] == 0).double().mean())
    assert sum(dropped) < len(dropped)
    assert (sum(dropped) > 0) == (name not in ("gpg", "sapo", "cispo"))  # these drop nobody


@pytest.mark.parametrize(("name", "params"), [case for case in WEIGHTED if LOSSES[case[0]].value])
def test_the_value_is_verls_loss(name, params):
    """Where a loss states its value. DPPO does not: verl logs sg(w)·Â·log π, the paper's ℓ is w·Â."""
    loss = LOSSES[name]
    batch, _ = tensors(5, per_token=False, spread=0.02 if name == "gspo" else 0.5)
    mode = loss.loss_agg_mode or "token-mean"
    config = actor(name, params)
    matrix = torch.zeros_like(batch[0])
    for tokens in weighted.blocks(*batch):
        matrix[tokens.rows] = loss.value(tokens, loss.params(**params))
    rows = len(batch[3]) / (len(batch[3]) - 1)  # geo_mean counts the empty row too
    expected = core_algos.agg_loss(-matrix, batch[3], mode) / (rows if name == "geo_mean" else 1)
    torch.testing.assert_close(bare(name)(*batch, mode, config)[0], expected, rtol=1e-7, atol=0)


# --- those without a weight: what their declarations say about them


def without_reduction(name, params, seed=0):
    """(∇ℓ per token, log δ, Â, mask) of verl's loss, token-sum."""
    batch, _ = tensors(seed)
    gradient = call(bare(name), *batch, "token-sum", actor(name, params))[1]
    return -gradient, (batch[1] - batch[0]).detach(), batch[2], batch[3]


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_dros_gradient_is_no_weight_times_the_advantage(scale):
    """Its penalty acts where the advantage is 0 too."""
    old, log_prob, advantages, mask = tensors(0)[0]
    arguments = (old, log_prob, advantages * scale, mask, "token-sum", actor("dro", {"beta": 0.1}))
    gradient = call(bare("dro"), *arguments)[1]
    expected = advantages * scale - 0.1 * (log_prob.detach() - old)
    torch.testing.assert_close(gradient, -expected * mask)


def covariance(log_prob, advantages, mask):
    log_prob, advantages = (t - t[mask].mean() for t in (log_prob, advantages))
    return (log_prob * advantages).masked_fill(~mask, -torch.inf)


def test_kl_cov_is_the_plain_surrogate_and_a_penalty_on_the_largest_covariances():
    gradient, log_ratio, advantages, mask = without_reduction("kl_cov", PARAMS["kl_cov"][1])
    cov = covariance(tensors(0)[0][1].detach(), advantages, mask)
    chosen = cov >= cov[mask].topk(int(0.1 * mask.sum())).values[-1]
    expected = log_ratio.exp() * advantages - 0.5 * log_ratio.sign() * chosen
    torch.testing.assert_close(gradient, expected * mask)


def test_clip_cov_is_ppo_clip_without_a_drawn_share_of_the_tokens_between_the_bounds():
    params = PARAMS["clip_cov"][1]
    gradient, log_ratio, advantages, mask = without_reduction("clip_cov", params)
    ratio = log_ratio.exp()
    clipped = ((ratio < 0.8) & (advantages < 0)) | ((ratio > 1.3) & (advantages > 0)) | ~mask
    drawn = (gradient == 0) & ~clipped
    assert drawn.sum() == int(0.1 * mask.sum())
    cov = covariance(tensors(0)[0][1].detach(), advantages, mask)[drawn]
    assert (cov > 0.1).all()
    assert (cov < 2.0).all()
    kept = ~(clipped | drawn)
    torch.testing.assert_close(gradient[kept], (ratio * advantages)[kept])
    assert (gradient[clipped] == 0).all()


@pytest.mark.parametrize("name", ["clip_cov", "kl_cov"])
def test_one_token_at_least_is_chosen_of_every_micro_batch(name):
    """As their departures say: a share of 2e-4 of 150 tokens is not less than one token."""
    share = {"clip_cov_ratio": 2e-4, "cov_low": 0.1} if name == "clip_cov" else {"kl_cov_ratio": 2e-4}
    gradient, log_ratio, advantages, mask = without_reduction(name, share)
    plain = (log_ratio.exp() * advantages)[mask]
    different = ~torch.isclose(gradient[mask], plain)
    clipped = (
        (log_ratio.exp() > 2)[mask] & (advantages > 0)[mask] if name == "clip_cov" else different & False
    )
    assert mask.sum() < 500
    assert (different & ~clipped).sum() == 1


# --- departures that can be shown


@pytest.mark.parametrize("name", ["sapo", "geo_mean"])
def test_losses_that_ignore_the_reduction(name):
    """As their departures say."""
    batch, _ = tensors(1)
    values = {bare(name)(*batch, mode, actor(name, PARAMS[name][0]))[0].item() for mode in MODES}
    assert len(values) == 1


def test_geo_mean_grows_with_the_number_of_micro_batches():
    """As its departures say: the sum over two micro-batches of 4 responses is twice the mini-batch's mean."""
    batch, _ = tensors(1)
    info = {"dp_size": 1, "batch_num_tokens": int(batch[3].sum()), "global_batch_size": 8}
    config = actor("geo_mean", {}, info)
    whole = bare("geo_mean")(*batch, "token-mean", config)[0]
    parts = [
        bare("geo_mean")(*(t[r] for t in batch), "token-mean", config)[0] for r in (slice(4), slice(4, 8))
    ]
    torch.testing.assert_close(sum(parts), 2 * whole)


# --- parameters of the wrong size


@pytest.mark.parametrize(
    ("name", "parameter", "value", "reason"),
    [
        ("gspo", "epsilon_high", 0.2, "token-level"),
        ("grpo", "epsilon", 3e-4, "GSPO"),
        ("cispo", "epsilon_high", 4e-4, "GSPO"),
        ("cispo", "epsilon_low", 10.0, "null"),
        ("geo_mean", "log_low", 4e-4, "GSPO"),
        ("dppo_tv", "tv_high", 3e-4, "GSPO"),
        ("dppo_tv", "tv_low", 1.28, "difference of probabilities"),
        ("dppo_kl", "kl_low", 1.5, "KL"),
        ("clip_cov", "clip_cov_ratio", 2.0, "percentage"),
        ("kl_cov", "kl_cov_ratio", 0.0, "fraction"),
        ("sapo", "tau_neg", 0.0, "zero"),
        ("dro", "beta", 0.0, "positive"),
    ],
)
def test_a_parameter_of_the_wrong_size_is_refused_with_the_reason(name, parameter, value, reason):
    complete = {**PARAMS[name][0], parameter: value}
    with pytest.raises(ValueError, match=parameter):
        LOSSES[name].params(**complete)
    assert reason in specs(LOSSES[name].params)[parameter].why(value)


def test_covariance_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="cov_low"):
        LOSSES["clip_cov"].params(cov_low=5.0, cov_high=1.0)

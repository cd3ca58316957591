"""The adapter to verl: reduction, registration, and verl's own losses left as they are."""

import pytest
import torch
from losses.loss_contract import CHECKS
from torch.utils._python_dispatch import TorchDispatchMode
from verl.trainer.ppo import core_algos
from verl.workers.config import PolicyLossConfig
from verl_plugin.adapter_cases import actor, as_subject, call, cegppo, loss_config, plain, tensors

from cegppo_verl.errors import UserError
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.verl_plugin import policy_loss

MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")


# --- the loss through verl's signature


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_registered_loss_keeps_the_contract(check):
    check(as_subject)


def unreduced(old, log_prob, advantages, mask, mode, config, weights=None):
    """Eq. 8 as a per-token matrix by autograd, reduced by verl's agg_loss."""
    low, high = 1 - config.clip_ratio_low, 1 + config.clip_ratio_high
    params = config.policy_loss.starting_params()
    one = (log_prob - log_prob.detach()).exp()
    ratio = (log_prob - old).exp()
    w = torch.where((ratio < low) & (advantages < 0), params.beta1 * low * one, ratio)
    w = torch.where((ratio > high) & (advantages > 0), params.beta2 * high * one, w)
    matrix = -w * advantages * (1.0 if weights is None else weights)
    return core_algos.agg_loss(matrix, mask, mode, **config.global_batch_info), {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "rollout_is_weights"])
@pytest.mark.parametrize(
    "info",
    [
        {},
        {"dp_size": 1, "batch_num_tokens": None, "global_batch_size": None, "loss_scale_factor": None},
        {"dp_size": 4, "batch_num_tokens": 777, "global_batch_size": 48, "loss_scale_factor": None},
        {"dp_size": 2, "batch_num_tokens": 500, "global_batch_size": 12, "loss_scale_factor": 128},
    ],
    ids=["no_info", "info_of_None", "dp4", "dp2_scaled"],
)
def test_reduction_is_agg_loss_of_the_matrix(mode, weighted, info):
    old, log_prob, advantages, mask = tensors()
    mask[2] = False  # a sequence without tokens
    weights = torch.rand_like(old) + 0.5 if weighted else None
    config = actor()
    config.global_batch_info.update(info)
    batch_and_mode = (old, log_prob, advantages, mask, mode, config, weights)
    value, gradient, _ = call(cegppo, *batch_and_mode)
    expected_value, expected, _ = call(unreduced, *batch_and_mode)
    torch.testing.assert_close(value, expected_value, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_micro_batch_is_zero_not_nan(mode):
    old, log_prob, advantages, mask = tensors()
    value, gradient, metrics = call(cegppo, old, log_prob, advantages, mask & False, mode, actor())
    assert value == 0
    assert torch.all(gradient == 0)
    assert all(v == 0 for k, v in plain(metrics).items() if k != "actor/anatomy/updates")


def test_unknown_mode_and_missing_global_count_are_verls_errors():
    old, log_prob, advantages, mask = tensors()
    with pytest.raises(ValueError, match="loss_agg_mode"):
        cegppo(old, log_prob, advantages, mask, "token-median", actor())
    config = actor()
    config.global_batch_info["dp_size"] = 2
    with pytest.raises(ValueError, match="batch_num_tokens is required"):
        cegppo(old, log_prob, advantages, mask, "token-mean", config)


@pytest.mark.parametrize("mode", MODES)
def test_beta_zero_is_verls_vanilla(mode):
    old, log_prob, advantages, mask = tensors()
    bounds = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28}
    wide = actor(policy=PolicyLossConfig(), clip_ratio_c=1e9, **bounds)
    expected = call(core_algos.compute_policy_loss_vanilla, old, log_prob, advantages, mask, mode, wide)
    got = call(cegppo, old, log_prob, advantages, mask, mode, actor(0.0, 0.0, **bounds))
    torch.testing.assert_close(got[1], expected[1], rtol=1e-9, atol=1e-15)
    for key in ("actor/pg_clipfrac", "actor/ppo_kl", "actor/pg_clipfrac_lower"):
        assert got[2][key] == pytest.approx(expected[2][key], rel=1e-6)
    assert got[2]["actor/pg_clipfrac"] > 0.1


def test_dual_clip_is_counted_as_vanilla_counts_it():
    old, log_prob, advantages, mask = tensors(spread=3.0)
    vanilla = core_algos.compute_policy_loss_vanilla(
        old, log_prob, advantages, mask, config=actor(policy=PolicyLossConfig(), clip_ratio_c=2.0)
    )[1]
    ours = cegppo(old, log_prob, advantages, mask, config=actor(dual_clip=2.0))[1]
    assert ours["actor/pg_clipfrac_lower"] == pytest.approx(vanilla["actor/pg_clipfrac_lower"])
    assert ours["actor/pg_clipfrac_lower"] > 0.05
    assert cegppo(old, log_prob, advantages, mask, config=actor())[1]["actor/pg_clipfrac_lower"] == 0


def test_verls_own_configuration_class_is_refused_with_the_fix():
    old, log_prob, advantages, mask = tensors()
    config = actor(policy=PolicyLossConfig(loss_mode="cegppo"))
    with pytest.raises(UserError, match=r"got no parameters[\s\S]*_target_=.*LossConfig"):
        cegppo(old, log_prob, advantages, mask, "token-mean", config)


# --- CE-GPPO as released: means per micro-batch, the likelihood term, the group filter

released = core_algos.get_policy_loss_fn("cegppo_released")


def released_actor(**info):
    config = actor(policy=loss_config("cegppo_released", beta1=0.5, beta2=1.0, positive_loss_coeff=0.1))
    config.global_batch_info.update(info)
    return config


def test_released_by_hand():
    """One micro-batch: −mean of ℓ + .1 · mean of −log π over tokens with Â > 0, dual clip 10."""
    old, log_prob, advantages, mask = tensors()
    got = call(released, old, log_prob, advantages, mask, "token-mean", released_actor())
    policy = call(cegppo, old, log_prob, advantages, mask, "token-mean", actor(dual_clip=10.0))
    positive = mask & (advantages > 0)
    nll = -0.1 * (log_prob * positive).sum() / positive.sum()
    torch.testing.assert_close(got[0], (policy[0] + nll).detach(), rtol=1e-9, atol=0)
    expected = policy[1] + torch.autograd.grad(nll, log_prob)[0]
    torch.testing.assert_close(got[1], expected, rtol=1e-9, atol=1e-15)


def test_released_micro_batches_enter_by_their_share_of_the_sequences():
    """verl adds micro-batch losses up; undivided, the gradient would grow with their number."""
    old, log_prob, advantages, mask = tensors()
    for rows in (slice(0, 2), slice(2, 6)):
        part = [t.detach()[rows] for t in (old, log_prob, advantages, mask)]
        part[1].requires_grad_()
        alone = call(released, *part, "token-mean", released_actor())
        shared = call(released, *part, "token-mean", released_actor(global_batch_size=6, dp_size=2))
        share = 2 * len(part[0]) / 6
        torch.testing.assert_close(shared[0], alone[0] * share, rtol=1e-12, atol=0)
        torch.testing.assert_close(shared[1], alone[1] * share, rtol=1e-12, atol=0)


def test_released_leaves_groups_without_variance_out_of_its_means():
    old, log_prob, advantages, mask = (t.detach() for t in tensors())
    advantages[2:4] = 0.0
    kept = [0, 1, 4, 5]
    whole = call(
        released, old, log_prob.clone().requires_grad_(), advantages, mask, "token-mean", released_actor()
    )
    rest = [t[kept] for t in (old, log_prob, advantages, mask)]
    rest[1] = rest[1].clone().requires_grad_()
    alone = call(released, *rest, "token-mean", released_actor())
    torch.testing.assert_close(whole[0], alone[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(whole[1][kept], alone[1], rtol=1e-12, atol=0)
    assert torch.all(whole[1][2:4] == 0)


# --- registration


VERLS = sorted({loss.runs for loss in LOSSES.values() if loss.runs})
OURS = [name for name, loss in LOSSES.items() if loss.runs is None]


def bare(name):
    return getattr(core_algos, f"compute_policy_loss_{name}")


@pytest.fixture
def registry(monkeypatch):
    fresh = {name: bare(name) for name in VERLS} | {"foreign": bare("vanilla")}
    monkeypatch.setattr(core_algos, "POLICY_LOSS_REGISTRY", fresh)
    return fresh


def test_register_adds_ours_wraps_verls_and_leaves_the_rest(registry):
    policy_loss.register()
    assert set(registry) == {*VERLS, "foreign", *OURS}
    assert all(registry[name].__wrapped__ is bare(name) for name in VERLS)
    assert registry["foreign"] is bare("vanilla")


def test_registering_twice_does_not_wrap_twice(registry):
    policy_loss.register()
    policy_loss.register()
    assert registry["vanilla"].__wrapped__ is core_algos.compute_policy_loss_vanilla


@pytest.mark.parametrize("name", ["cegppo", "vanilla"])
def test_somebody_elses_function_is_a_loud_error_and_stays(registry, name):
    def foreign():
        raise AssertionError

    registry[name] = foreign
    before = dict(registry)
    with pytest.raises(UserError, match=rf"'{name}' is already registered by .*foreign"):
        policy_loss.register()
    assert registry == before


# --- verl's vanilla under verl's own configuration class, as somebody without our grids has it
# (all eleven of verl's losses: test_verl_losses.py)


def test_registered_vanilla_changes_no_bit_and_speaks_of_the_same_metrics():
    arguments = (*tensors(dtype=torch.float32), "token-mean", actor(policy=PolicyLossConfig()))
    bare_results = call(core_algos.compute_policy_loss_vanilla, *arguments)
    wrapped = call(core_algos.get_policy_loss_fn("vanilla"), *arguments)
    assert torch.equal(bare_results[0], wrapped[0])
    assert torch.equal(bare_results[1], wrapped[1])
    assert bare_results[2].items() <= wrapped[2].items()
    ours = cegppo(*tensors(), "token-mean", actor(dual_clip=3.0))[1]
    assert wrapped[2].keys() == ours.keys()


def test_an_open_lower_side_is_vanillas_business():
    """verl allows clip_ratio_low ≥ 1; the diagnostics must not refuse what verl runs."""
    config = actor(policy=PolicyLossConfig(), clip_ratio_low=10.0)
    metrics = plain(core_algos.get_policy_loss_fn("vanilla")(*tensors(spread=3.0), "token-mean", config)[1])
    assert metrics["actor/anatomy/neg_below"] == metrics["actor/anatomy/pos_below"] == 0


def test_a_verl_loss_that_nobody_described_is_counted_by_the_reference_interval():
    config = actor(policy=PolicyLossConfig(loss_mode="gpg"))
    metrics = plain(core_algos.get_policy_loss_fn("gpg")(*tensors(), "token-mean", config)[1])
    assert metrics["actor/anatomy/neg_below"] > 0
    assert "actor/anatomy/weight_abs" not in metrics  # no weight is known: absent, not 0


# --- no synchronisation points


class HostReads(TorchDispatchMode):
    """Records the operators that make an accelerator wait for the host, or the host for it."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "unique")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean_index = name.startswith("index") and any(
            isinstance(a, (list, tuple)) and any(t is not None and t.dtype == torch.bool for t in a)
            for a in args
        )
        if name in self.WAITING or boolean_index:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_the_detector_of_host_reads_works():
    with HostReads() as reads:
        core_algos.compute_policy_loss_vanilla(*tensors(), config=actor(policy=PolicyLossConfig()))
        torch.ones(3)[torch.tensor([True, False, True])]
    assert reads.seen.count("_local_scalar_dense") == 3  # vanilla's three metrics
    assert "index" in reads.seen


def test_the_loss_reads_the_device_once_where_vanilla_does_three_times():
    """All counts come over in one tolist (no operator on a CPU); nothing else waits for the device."""
    arguments = tensors()
    with HostReads() as reads:
        cegppo(*arguments, "token-mean", actor(dual_clip=3.0))[0].backward()
    assert reads.seen == []

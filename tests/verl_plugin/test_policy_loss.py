"""The adapter to verl: registration, reduction, metrics, and verl's own losses left as they are."""

from types import SimpleNamespace

import pytest
import torch
from losses.loss_contract import CHECKS, PAPER, batch
from torch.utils._python_dispatch import TorchDispatchMode
from verl.trainer.ppo import core_algos
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric, reduce_metrics
from verl.utils.py_functional import append_to_dict
from verl.workers.config import ActorConfig, PolicyLossConfig
from verl.workers.utils.losses import ppo_loss

from cegppo_verl.errors import UserError
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.verl_plugin import policy_loss
from cegppo_verl.verl_plugin.config import CEGPPOPolicyLossConfig

policy_loss.register()  # verl's plugin loader has done it; twice is fine
cegppo = core_algos.get_policy_loss_fn("cegppo")
MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")


def actor(beta1=0.5, beta2=1.0, dual_clip=None, policy=None, **settings):
    """An ActorConfig as a worker builds it."""
    policy = policy or CEGPPOPolicyLossConfig(beta1=beta1, beta2=beta2, dual_clip=dual_clip)
    base = {"strategy": "fsdp", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 1}
    return ActorConfig(**base, policy_loss=policy, **settings)


def tensors(seed=0, dtype=torch.float64, spread=1.0):
    log_ratio, advantages, mask = batch(seed=seed)
    old = torch.full_like(log_ratio, -1.0)
    old, log_prob, advantages = (t.to(dtype) for t in (old, old + spread * log_ratio, advantages))
    return old, log_prob.requires_grad_(), advantages, mask


def call(loss, old, log_prob, advantages, mask, mode, config, weights=None):
    value, metrics = loss(old, log_prob, advantages, mask, mode, config, weights)
    (gradient,) = torch.autograd.grad(value, log_prob)
    return value.detach(), gradient, metrics


def plain(metrics):
    return {k: v.aggregate() if isinstance(v, Metric) else v for k, v in metrics.items()}


# --- the loss through verl's signature


def as_subject(
    old, log_prob, advantages, mask, *, beta1, beta2, epsilon_low, epsilon_high, dual_clip=None, **info
):
    config = actor(beta1, beta2, dual_clip, clip_ratio_low=epsilon_low, clip_ratio_high=epsilon_high)
    config.global_batch_info.update(info)
    return cegppo(old, log_prob, advantages, mask, "token-mean", config)[0]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_registered_loss_keeps_the_contract(check):
    check(as_subject)


def unreduced(old, log_prob, advantages, mask, mode, config, weights=None):
    """Eq. 8 as a per-token matrix by autograd, reduced by verl's agg_loss."""
    low, high = 1 - config.clip_ratio_low, 1 + config.clip_ratio_high
    one = (log_prob - log_prob.detach()).exp()
    ratio = (log_prob - old).exp()
    w = torch.where((ratio < low) & (advantages < 0), config.policy_loss.beta1 * low * one, ratio)
    w = torch.where((ratio > high) & (advantages > 0), config.policy_loss.beta2 * high * one, w)
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


def test_missing_parameters_are_named():
    old, log_prob, advantages, mask = tensors()
    config = actor(policy=PolicyLossConfig(loss_mode="cegppo"))
    with pytest.raises(UserError, match=r"beta1[\s\S]*_target_"):
        cegppo(old, log_prob, advantages, mask, "token-mean", config)


# --- registration


@pytest.fixture
def registry(monkeypatch):
    fresh = {"vanilla": core_algos.compute_policy_loss_vanilla, "gspo": core_algos.compute_policy_loss_gspo}
    monkeypatch.setattr(core_algos, "POLICY_LOSS_REGISTRY", fresh)
    return fresh


def test_register_adds_ours_wraps_vanilla_and_leaves_the_rest(registry):
    policy_loss.register()
    assert set(registry) == {"vanilla", "gspo", *LOSSES}
    assert registry["vanilla"].__wrapped__ is core_algos.compute_policy_loss_vanilla
    assert registry["gspo"] is core_algos.compute_policy_loss_gspo


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


# --- verl's own losses, wrapped

# bypass_mode is left out: it needs rollout_correction settings and dispatches to vanilla.
VERLS = sorted(set(core_algos.POLICY_LOSS_REGISTRY) - set(LOSSES) - {"bypass_mode"})


def verls_own(name):
    loss = core_algos.POLICY_LOSS_REGISTRY[name]
    return getattr(loss, "__wrapped__", loss)


def test_all_of_verls_losses_are_covered():
    assert set(VERLS) >= {"vanilla", "gspo", "sapo", "cispo", "clip_cov", "kl_cov", "geo_mean", "gpg", "dro"}


@pytest.mark.parametrize("name", VERLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wrapping_changes_no_bit(name, dtype):
    bare = verls_own(name)
    wrapped = policy_loss.with_anatomy(bare, lambda c: policy_loss.Clip(0.2, 0.2))
    results = []
    for loss in (bare, wrapped):
        old, log_prob, advantages, mask = tensors(seed=7, dtype=dtype)
        config = actor(policy=PolicyLossConfig(loss_mode=name, dro_beta=0.1, clip_cov_lb=-5.0))
        torch.manual_seed(5)  # clip_cov draws tokens at random
        weights = torch.rand_like(old) + 0.5
        results.append(
            (*call(loss, old, log_prob, advantages, mask, "token-mean", config, weights), torch.rand(3))
        )
    (value, gradient, metrics, drawn), (wrapped_value, wrapped_gradient, wrapped_metrics, wrapped_drawn) = (
        results
    )
    assert torch.equal(value, wrapped_value)
    assert torch.equal(gradient, wrapped_gradient)
    assert torch.equal(drawn, wrapped_drawn)  # the wrapper draws no random numbers
    assert metrics.items() <= wrapped_metrics.items()
    extra = {k.removeprefix("actor/anatomy/") for k in wrapped_metrics.keys() - metrics.keys()}
    assert extra == COUNTS - {"weight_abs", "weight_abs_outside"}  # no weight was given: absent, not 0


COUNTS = {
    "tokens",
    "neg_below",
    "pos_above",
    "neg_above",
    "pos_below",
    "inside",
    "weight_abs",
    "weight_abs_outside",
    "updates",
}


def test_registered_vanilla_changes_no_bit_and_speaks_of_the_same_metrics():
    arguments = (*tensors(dtype=torch.float32), "token-mean", actor(policy=PolicyLossConfig()))
    bare = call(core_algos.compute_policy_loss_vanilla, *arguments)
    wrapped = call(core_algos.get_policy_loss_fn("vanilla"), *arguments)
    assert torch.equal(bare[0], wrapped[0])
    assert torch.equal(bare[1], wrapped[1])
    assert bare[2].items() <= wrapped[2].items()
    assert wrapped[2].keys() == cegppo(*tensors(), "token-mean", actor())[1].keys()


# --- the anatomy counts


def by_hand(old, log_prob, advantages, mask, weight, low=0.8, high=1.2):
    """Counts in plain Python, token by token."""
    counts = dict.fromkeys(COUNTS, 0.0) | {"updates": 1.0}
    flat = zip(
        *(t.detach().flatten().tolist() for t in ((log_prob - old).exp(), advantages, mask)), strict=True
    )
    for ratio, adv, keep in flat:
        if not keep:
            continue
        side = "below" if ratio < low else "above" if ratio > high else "inside"
        sign = "neg_" if adv < 0 else "pos_" if adv > 0 else "zero_"
        key = side if side == "inside" else sign + side
        counts[key] = counts.get(key, 0.0) + 1
        counts["tokens"] += 1
        counts["weight_abs"] += abs(weight(ratio, adv) * adv)
        counts["weight_abs_outside"] += abs(weight(ratio, adv) * adv) * (side != "inside")
    return counts


def ce_weight(ratio, adv):
    return 0.4 if ratio < 0.8 and adv < 0 else 1.2 if ratio > 1.2 and adv > 0 else ratio


def vanilla_weight(ratio, adv):
    clipped = (ratio < 0.8 and adv < 0) or (ratio > 1.2 and adv > 0) or (ratio > 3.0 and adv < 0)
    return 0.0 if clipped else ratio


@pytest.mark.parametrize(
    ("name", "weight"), [("cegppo", ce_weight), ("vanilla", vanilla_weight)], ids=["cegppo", "vanilla"]
)
def test_anatomy_against_a_count_by_hand(name, weight):
    old, log_prob, advantages, mask = tensors(spread=3.0)
    advantages[1] = 0.0  # a group of zero variance
    policy = None if name == "cegppo" else PolicyLossConfig()
    rollout_weights = torch.full_like(old, 2.0)  # must not enter weight_abs
    loss = core_algos.get_policy_loss_fn(name)
    metrics = plain(
        loss(old, log_prob, advantages, mask, "token-mean", actor(policy=policy), rollout_weights)[1]
    )
    expected = by_hand(old, log_prob, advantages, mask, weight)
    silent = expected.pop("zero_below") + expected.pop("zero_above")
    got = {k: metrics[f"actor/anatomy/{k}"] for k in COUNTS}
    assert got == pytest.approx(expected, rel=1e-12)
    assert silent > 0
    regions = ("neg_below", "pos_above", "neg_above", "pos_below", "inside")
    assert got["tokens"] - sum(got[r] for r in regions) == silent


def test_anatomy_of_fp32_counts_exactly():
    old, log_prob, advantages, mask = tensors(dtype=torch.float32)
    metrics = plain(cegppo(old, log_prob, advantages, mask, "token-mean", actor())[1])
    expected = by_hand(old, log_prob, advantages, mask, ce_weight)
    for key in COUNTS - {"weight_abs", "weight_abs_outside"}:
        assert metrics[f"actor/anatomy/{key}"] == expected[key]


# --- what a reader gets, through verl's own code


def jagged(rows):
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def update(name, rows, dp_size=1, tokens=None):
    """verl's ppo_loss on one micro-batch of the given rows, prompts one token long."""
    old, log_prob, advantages, mask = (t.float() if t.is_floating_point() else t for t in tensors(spread=3.0))
    log_prob = log_prob.detach().requires_grad_()
    lengths = mask[rows].sum(-1).tolist()
    cut = lambda t: jagged(row[:n] for row, n in zip(t[rows], lengths, strict=True))  # noqa: E731
    # ppo_loss reads log-probs of [prompt, response], shifted left by one
    sequence = jagged(torch.cat([row[:n], row[:1]]) for row, n in zip(log_prob[rows], lengths, strict=True))
    fields = {"old_log_probs": cut(old), "advantages": cut(advantages), "response_mask": cut(mask.float())}
    fields |= {
        "responses": cut(mask.long()),
        "prompts": jagged(torch.ones(len(lengths), 1, dtype=torch.long)),
    }
    info = {"dp_size": dp_size, "batch_num_tokens": tokens, "global_batch_size": len(lengths)}
    data = tu.get_tensordict(tensor_dict=fields, non_tensor_dict=info)
    config = actor(policy=None if name == "cegppo" else PolicyLossConfig())
    return ppo_loss(config, {"log_probs": sequence}, data)


@pytest.mark.parametrize("name", ["cegppo", "vanilla"])
def test_ratios_of_counts_survive_verls_aggregation(name):
    """2 epochs × 2 mini-batches × unequal micro-batches × 2 ranks, as workers and trainer combine them."""
    micro = [
        [slice(0, 1)],
        [slice(1, 2), slice(2, 3), slice(3, 6)],
    ]  # mini-batches with 1 and 3 micro-batches
    logged: dict = {}
    for mini in micro * 2:
        ranks = []
        for _ in range(2):
            metrics: dict = {}
            for rows in mini:
                append_to_dict(metrics, update(name, rows, dp_size=2, tokens=99)[1])
            ranks.append(metrics)
        append_to_dict(logged, {k: Metric.aggregate_dp([r[k] for r in ranks]) for k in ranks[0]})
    reduced = reduce_metrics(logged)
    whole = plain(update(name, slice(0, 6))[1])
    for key in COUNTS - {"tokens", "updates"}:
        ratio = reduced[f"actor/anatomy/{key}"] / reduced["actor/anatomy/tokens"]
        assert ratio == pytest.approx(whole[f"actor/anatomy/{key}"] / whole["actor/anatomy/tokens"], rel=1e-6)
    assert reduced["actor/anatomy/updates"] == 2.0  # (1 + 3) / 2 micro-batches per mini-batch
    assert reduced["actor/anatomy/tokens"] == whole["actor/anatomy/tokens"] / 2  # over 2 mini-batches
    # verl's own metrics keep verl's own rule, which is exactly what is biased here:
    exact = (whole["actor/anatomy/neg_below"] + whole["actor/anatomy/pos_above"]) / whole[
        "actor/anatomy/tokens"
    ]
    assert reduced["actor/pg_clipfrac"] != pytest.approx(exact, rel=1e-3)


def test_metrics_without_a_rule_of_their_own_still_get_verls():
    built = Metric.from_dict({"a": 1.0, "b": Metric("sum", 2.0)}, AggregationType.MEAN)
    assert built["a"].aggregation is AggregationType.MEAN
    assert built["b"].aggregation is AggregationType.SUM


# --- the typed configuration

SELECT = [
    "actor_rollout_ref.actor.policy_loss._target_=cegppo_verl.verl_plugin.config.CEGPPOPolicyLossConfig",
    "actor_rollout_ref.actor.policy_loss.loss_mode=cegppo",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
    "actor_rollout_ref.actor.clip_ratio_low=0.1",
    "actor_rollout_ref.actor.clip_ratio_high=0.3",
]
BETAS = ["+actor_rollout_ref.actor.policy_loss.beta1=.25", "+actor_rollout_ref.actor.policy_loss.beta2=1"]


def composed(*overrides):
    """verl's real trainer configuration with overrides, its actor part as the worker instantiates it."""
    from pathlib import Path

    import verl.trainer
    from hydra import compose, initialize_config_dir
    from verl.utils.config import omega_conf_to_dataclass

    folder = Path(verl.trainer.__file__).parent / "config"
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("ppo_trainer", overrides=list(overrides))
    return omega_conf_to_dataclass(config.actor_rollout_ref.actor)


def test_the_parameters_arrive_through_verls_composition():
    config = composed(*SELECT, *BETAS, "+actor_rollout_ref.actor.policy_loss.dual_clip=10.0")
    assert isinstance(config.policy_loss, CEGPPOPolicyLossConfig)
    assert (config.policy_loss.beta1, config.policy_loss.beta2) == (0.25, 1)
    params = policy_loss.params_of("cegppo", LOSSES["cegppo"], config)
    assert params == LOSSES["cegppo"].params(
        beta1=0.25, beta2=1, epsilon_low=0.1, epsilon_high=0.3, dual_clip=10.0
    )
    old, log_prob, advantages, mask = tensors()
    gradient = call(cegppo, old, log_prob, advantages, mask, "token-mean", config)[1]
    hyper = PAPER | {"beta1": 0.25, "epsilon_low": 0.1, "epsilon_high": 0.3, "dual_clip": 10.0}
    expected = torch.autograd.grad(as_subject(old, log_prob, advantages, mask, **hyper), log_prob)[0]
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (SELECT, "beta1 is required"),
        ([*SELECT, BETAS[0]], "beta2 is required"),
        ([*SELECT, BETAS[0], BETAS[1].replace("=1", "=-1")], "beta2 must be a number"),
        (
            [*SELECT, *BETAS, "+actor_rollout_ref.actor.policy_loss.dual_clip=.5"],
            "dual_clip must be a number",
        ),
        ([SELECT[0], *SELECT[2:], *BETAS], "loss_mode is 'vanilla', which would ignore"),
        ([*SELECT, *BETAS, "+actor_rollout_ref.actor.policy_loss.beta3=1"], "beta3"),
    ],
    ids=["no_beta1", "no_beta2", "negative", "dual_clip", "loss_mode", "unknown_key"],
)
def test_a_wrong_configuration_is_refused_with_its_reason(overrides, complaint):
    with pytest.raises(Exception, match=complaint):  # hydra wraps ours in its InstantiationException
        composed(*overrides)


def test_the_configuration_is_frozen_like_verls():
    config = CEGPPOPolicyLossConfig(beta1=0.5, beta2=1.0)
    with pytest.raises(Exception, match="frozen"):
        config.beta1 = 1.0
    assert config.get("beta1") == config["beta1"] == 0.5


def test_an_upper_clip_bound_left_open_falls_back_to_clip_ratio():
    config = SimpleNamespace(clip_ratio=0.25, clip_ratio_low=None, clip_ratio_high=None)
    assert policy_loss.clip_bounds(config) == (0.25, 0.25)


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

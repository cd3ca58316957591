"""The anatomy counts: against a count by hand, and through verl's own aggregation."""

import pytest
import torch
from verl.trainer.ppo import core_algos
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric, reduce_metrics
from verl.utils.py_functional import append_to_dict
from verl.workers.config import PolicyLossConfig
from verl.workers.utils.losses import ppo_loss
from verl_plugin.adapter_cases import COUNTS, actor, cegppo, plain, tensors


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

"""The anatomy counts: against a count by hand, and through verl's own aggregation to the ratios one reads."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from verl.trainer.ppo import core_algos
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric, reduce_metrics
from verl.utils.py_functional import append_to_dict
from verl.workers.config import PolicyLossConfig
from verl.workers.utils.losses import ppo_loss
from verl_plugin.adapter_cases import COUNTS, actor, cegppo, plain, tensors

from cegppo_verl.losses import weighted
from cegppo_verl.losses.loss import Interval
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.records import anatomy as reading
from cegppo_verl.records.metrics import Metrics
from cegppo_verl.verl_plugin import diagnostics
from cegppo_verl.verl_plugin.anatomy import Anatomy

SUMS = {"weight_abs", "weight_abs_outside", "k1", "k3", "ratio", "ratio_squared"} | {
    "log_prob",
    "advantage",
    "log_prob_advantage",
}


def varied(seed=0, dtype=torch.float64, spread=3.0):
    """A batch whose π_old lies on both sides of ½ and exactly on it."""
    old, log_prob, advantages, mask = tensors(seed=seed, spread=spread)
    g = torch.Generator().manual_seed(seed + 100)
    new_old = -1.5 * torch.rand(old.shape, generator=g, dtype=torch.float64)
    new_old[0, 0] = math.log(0.5)
    log_prob = (new_old + (log_prob.detach() - old)).to(dtype)
    return new_old.to(dtype), log_prob.requires_grad_(), advantages.to(dtype), mask


def by_hand(old, log_prob, advantages, mask, weight, low=0.8, high=1.2, ratios=None):
    """Counts in plain Python, token by token; ``ratios``: the ratio to place a token by, if not its own."""
    counts = dict.fromkeys(COUNTS | SUMS, 0.0) | {"updates": 1.0} | dict.fromkeys(reading.BINS, 0.0)
    counts |= dict.fromkeys((*reading.CLASSES, *(f"{r}_lp" for r in reading.REGIONS)), 0.0)
    log_ratio = log_prob.detach() - old
    placed = log_ratio.exp() if ratios is None else ratios
    half = torch.tensor(math.log(0.5), dtype=old.dtype).item()
    flat = (t.detach().double().flatten().tolist() for t in (placed, log_ratio, advantages, old, mask))
    for ratio, log_r, adv, log_old, keep in zip(*flat, strict=True):
        if keep:
            _count(counts, ratio, log_r, adv, log_old, weight, low, high, half)
    return counts


def _count(counts, ratio, log_r, adv, log_old, weight, low, high, half):
    def add(key, value=1.0):
        counts[key] = counts.get(key, 0.0) + value

    side = "below" if ratio < low else "above" if ratio > high else "inside"
    sign = "neg_" if adv < 0 else "pos_" if adv > 0 else "zero_"
    probability = "lp" if log_old < half else "hp"
    add("tokens")
    add(side if side == "inside" else sign + side)
    if adv:
        add(f"{'pa' if adv > 0 else 'na'}_{probability}")
    if adv and side != "inside" and probability == "lp":
        add(f"{sign}{side}_lp")
    for key, value in _sums(log_r, adv, log_old).items():
        add(key, value)
    add("weight_abs", abs(weight(ratio, adv) * adv))
    add("weight_abs_outside", abs(weight(ratio, adv) * adv) * (side != "inside"))
    place = sum(edge <= np.float32(log_r) for edge in reading.EDGES[1:-1]) if log_r >= 0 else None
    if place is None:  # a bin of negative log δ holds its lower edge in magnitude
        place = sum(edge < np.float32(log_r) for edge in reading.EDGES[1:-1])
    add(reading.BINS[place])


def _sums(log_r, adv, log_old):
    delta = math.exp(log_r)
    log_new = log_old + log_r
    return {"k1": -log_r, "k3": delta - 1 - log_r, "ratio": delta, "ratio_squared": delta**2} | {
        "log_prob": log_new,
        "advantage": adv,
        "log_prob_advantage": log_new * adv,
    }


def ce_weight(ratio, adv):
    return 0.4 if ratio < 0.8 and adv < 0 else 1.2 if ratio > 1.2 and adv > 0 else ratio


def vanilla_weight(ratio, adv):
    clipped = (ratio < 0.8 and adv < 0) or (ratio > 1.2 and adv > 0) or (ratio > 3.0 and adv < 0)
    return 0.0 if clipped else ratio


PAPER = Interval(0.2, 0.2)


def observed(batch, interval=PAPER, full=True, weight=True, **entropies):
    """Totals of a batch under CE-GPPO's weight."""
    loss = LOSSES["cegppo"]
    bound = loss.bound(loss.params(beta1=0.5, beta2=1.0))
    counter = Anatomy(interval, full=full)
    for tokens in weighted.blocks(*batch, **entropies):
        counter.observe(tokens, weighted.product(tokens, bound) if weight else None)
    return counter.read(batch[3].sum())


@pytest.mark.parametrize(
    ("name", "weight"), [("cegppo", ce_weight), ("vanilla", vanilla_weight)], ids=["cegppo", "vanilla"]
)
def test_anatomy_against_a_count_by_hand(name, weight):
    old, log_prob, advantages, mask = varied()
    advantages[1] = 0.0  # a group of zero variance
    policy = None if name == "cegppo" else PolicyLossConfig()
    rollout_weights = torch.full_like(old, 2.0)  # must not enter weight_abs
    loss = core_algos.get_policy_loss_fn(name)
    metrics = plain(
        loss(old, log_prob, advantages, mask, "token-mean", actor(policy=policy), rollout_weights)[1]
    )
    expected = by_hand(old, log_prob, advantages, mask, weight)
    silent = expected.pop("zero_below") + expected.pop("zero_above")
    got = {k.removeprefix("actor/anatomy/"): v for k, v in metrics.items() if "/anatomy/" in k}
    if name == "vanilla":
        flat = zip(*(t.flatten() for t in ((log_prob - old).exp(), advantages, mask)), strict=True)
        expected["dual_clipped"] = float(sum(r > 3 and a < 0 and m for r, a, m in flat))
        assert expected["dual_clipped"] > 0
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert silent > 0
    assert got["tokens"] - sum(got[r] for r in (*reading.REGIONS, "inside")) == silent


def test_fp32_is_counted_exactly():
    old, log_prob, advantages, mask = varied(dtype=torch.float32)
    metrics = plain(cegppo(old, log_prob, advantages, mask, "token-mean", actor())[1])
    expected = by_hand(old, log_prob, advantages, mask, ce_weight)
    for key in expected.keys() - SUMS:
        assert metrics[f"actor/anatomy/{key}"] == expected[key], key


def test_whatever_padding_holds_is_not_counted():
    clean = varied()
    dirty = [t.detach().clone() for t in clean]
    for tensor in dirty[:3]:
        tensor[clean[3] == 0] = math.nan
    entropy = torch.rand_like(clean[0])
    assert observed(dirty, entropy=entropy.where(clean[3] != 0, math.nan)) == observed(clean, entropy=entropy)


def test_the_sum_of_blocks_is_the_whole(monkeypatch):
    batch = varied()
    whole = observed(batch)
    monkeypatch.setattr(weighted, "BLOCK_TOKENS", 2 * batch[0].shape[1])
    assert len(list(weighted.blocks(*batch))) == 3
    assert observed(batch) == pytest.approx(whole, rel=1e-12)


def test_the_cheap_level_counts_the_same_and_gives_vanillas_metrics():
    batch = varied()
    full, cheap = (observed(batch, Interval(0.2, 0.2, 3.0), full=level) for level in (True, False))
    assert cheap == {name: full[name] for name in cheap}
    assert len(cheap) < 10
    assert diagnostics.clip_metrics(cheap) == diagnostics.clip_metrics(full)


def test_at_sequence_level_a_token_lies_where_its_response_lies():
    old, log_prob, advantages, mask = varied()
    mean = ((log_prob - old).detach() * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)
    ratios = mean.exp().expand_as(old)
    low, high = 0.9, 1.05
    got = observed((old, log_prob, advantages, mask), Interval(1 - low, high - 1, level="sequence"))
    expected = by_hand(old, log_prob, advantages, mask, ce_weight, low, high, ratios)
    assert 0 < expected["inside"] < expected["tokens"]
    for key in expected.keys() - {"weight_abs", "weight_abs_outside"}:
        assert got[key] == pytest.approx(expected[key], rel=1e-9, abs=1e-9), key


def test_what_is_unknown_is_absent():
    batch = varied()
    plainly = observed(batch, weight=False)
    assert not {"weight_abs", "weight_abs_outside", "entropy", "old_entropy", "dual_clipped"} & plainly.keys()
    entropy = torch.rand_like(batch[0])
    got = observed(batch, entropy=entropy, old_entropy=2 * entropy)
    assert got["entropy"] == pytest.approx(float((entropy * batch[3]).sum()))
    assert got["old_entropy"] == pytest.approx(2 * got["entropy"])


def test_k3_keeps_its_digits_in_fp32():
    old = torch.full((1, 1000), -1.0)
    log_ratio = torch.full_like(old, 2.0**-12)
    got = observed((old, old + log_ratio, torch.ones_like(old), torch.ones_like(old)))
    assert got["k3"] == pytest.approx(1000 * (math.expm1(2.0**-12) - 2.0**-12), rel=1e-3)


def test_an_empty_batch_and_an_empty_mask():
    assert observed([torch.zeros(0, 5)] * 4) == {"tokens": 0.0, "updates": 1.0} | dict.fromkeys(
        observed(varied()).keys() - {"tokens", "updates"}, 0.0
    )
    old, log_prob, advantages, mask = varied()
    empty = observed((old, log_prob, advantages, torch.zeros_like(mask)))
    assert set(empty.pop("updates") * np.array(list(empty.values()))) == {0.0}


# --- what a reader gets, through verl's own code


def jagged(rows):
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def update(name, rows, dp_size=1, tokens=None):
    """verl's ppo_loss on one micro-batch of the given rows, prompts one token long."""
    old, log_prob, advantages, mask = (t.float() if t.is_floating_point() else t for t in varied())
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


RANKS = (  # per rank: mini-batches with 1 and 3 micro-batches, none like another
    ([slice(0, 1)], [slice(1, 2), slice(2, 3), slice(3, 6)]),
    ([slice(2, 6)], [slice(0, 2), slice(0, 1), slice(1, 2)]),
)


def logged_by_verl(name):
    """2 epochs × 2 mini-batches × unequal micro-batches × 2 ranks, as workers and trainer combine them."""
    logged: dict = {}
    for mini in [0, 1] * 2:
        ranks = []
        for rank in RANKS:
            metrics: dict = {}
            for rows in rank[mini]:
                append_to_dict(metrics, update(name, rows, dp_size=2, tokens=99)[1])
            ranks.append(metrics)
        append_to_dict(logged, {k: Metric.aggregate_dp([r[k] for r in ranks]) for k in ranks[0]})
    return reduce_metrics(logged)


def frame(logged):
    rows = [(7, key, float(value), 1) for key, value in sorted(logged.items())]
    return Metrics(pd.DataFrame(rows, columns=["step", "key", "value", "attempt"]))


@pytest.mark.parametrize("name", ["cegppo", "vanilla"])
def test_ratios_survive_verls_aggregation(name):
    """As read from what verl logs = as computed from all tokens at once, however the batch was cut."""
    logged = logged_by_verl(name)
    parts = [plain(update(name, rows)[1]) for rank in RANKS for mini in rank for rows in mini]
    whole = {key: sum(part[key] for part in parts) for key in parts[0] if "/anatomy/" in key}
    read, exact = (reading.anatomy(frame(metrics)) for metrics in (logged, whole))
    assert np.isfinite(read["ess"]).all()
    assert np.isfinite(read["weight_outside"]).all()
    for key, value in exact.items():
        np.testing.assert_allclose(read[key], value, rtol=1e-6, err_msg=key)
    assert logged["actor/anatomy/updates"] == 2.0  # (1 + 3) / 2 micro-batches per mini-batch
    assert logged["actor/anatomy/tokens"] == whole["actor/anatomy/tokens"] / 4  # 2 ranks × 2 mini-batches
    # verl's own metrics keep verl's own rule, which is exactly what is biased here:
    share = float((exact["neg_below"] + exact["pos_above"])[0])
    assert logged["actor/pg_clipfrac"] != pytest.approx(share, rel=1e-3)


def test_no_name_has_a_rule_of_verls_in_it():
    names = observed(varied(), Interval(0.2, 0.2, 3.0), entropy=torch.rand_like(varied()[0]))
    assert not [name for name in names if "max" in name or "min" in name]


def test_metrics_without_a_rule_of_their_own_still_get_verls():
    built = Metric.from_dict({"a": 1.0, "b": Metric("sum", 2.0)}, AggregationType.MEAN)
    assert built["a"].aggregation is AggregationType.MEAN
    assert built["b"].aggregation is AggregationType.SUM


# --- on an accelerator


@pytest.mark.parametrize("full", [True, False], ids=["full", "cheap"])
def test_no_synchronisation_with_an_accelerator(full):
    """Tensors without data: whatever reads a value raises, up to and including the building of metrics."""
    loss = LOSSES["cegppo"]
    old, log_prob, advantages = (torch.empty(4, 9, device="meta") for _ in range(3))
    mask = torch.empty(4, 9, device="meta", dtype=torch.bool)
    counter = Anatomy(Interval(0.2, 0.2, 3.0), full=full)
    batch = (old, log_prob.requires_grad_(), advantages, mask)
    bound = loss.bound(loss.params(beta1=0.5, beta2=1.0))
    weighted.row_losses(*batch, bound, observe=counter.observe).sum().backward()
    totals = counter.read(mask.sum())
    metrics = diagnostics.as_metrics(totals) | diagnostics.clip_metrics(totals)
    metrics = Metric.from_dict(metrics, AggregationType.MEAN)
    with pytest.raises(RuntimeError):
        mask.sum().item()
    assert all(
        type(metric) is diagnostics.Deferred for key, metric in metrics.items() if "updates" not in key
    )


def test_deferred_metrics_come_over_together_and_are_verls_afterwards(monkeypatch):
    batch = varied()
    totals = observed(batch)
    device = {name: torch.tensor(total, dtype=torch.float64) for name, total in totals.items()}
    calls, fetch = [], diagnostics.Transfer.numbers
    monkeypatch.setattr(diagnostics.Transfer, "numbers", lambda self: calls.append(self) or fetch(self))
    metrics = diagnostics.as_metrics(device) | diagnostics.clip_metrics(device)
    assert not calls
    gathered: dict = {}
    append_to_dict(gathered, metrics)
    append_to_dict(gathered, metrics)
    assert len({id(transfer) for transfer in calls}) == 2  # one for the sums, one for verl's own three
    assert gathered["actor/anatomy/k3"].aggregate() == pytest.approx(2 * totals["k3"])
    clip = diagnostics.clip_metrics(totals)
    assert {key: gathered[key].aggregate() for key in clip} == pytest.approx(clip)
    copied = pickle.loads(pickle.dumps(metrics["actor/anatomy/k1"]))
    assert type(copied) is Metric
    assert copied.aggregate() == totals["k1"]


def test_sharp_tokens_are_those_whose_rise_lowers_the_entropy():
    """Against the derivative itself: of every token of a random softmax, by autograd."""
    g = torch.Generator().manual_seed(7)
    logits = 2 * torch.randn(6, 20, 5, generator=g, dtype=torch.float64)
    old_log_probs = logits.log_softmax(-1)
    entropy = -(old_log_probs.exp() * old_log_probs).sum(-1)
    chosen = torch.randint(5, (6, 20, 1), generator=g)
    old = old_log_probs.gather(-1, chosen)[..., 0]
    advantages = torch.randn(6, 20, generator=g, dtype=torch.float64)
    log_prob, mask = (
        old + 0.6 * torch.randn(6, 20, generator=g, dtype=torch.float64),
        torch.ones(6, 20).bool(),
    )
    mask[2, 5:] = False

    raised = logits.clone().requires_grad_()
    rising = raised.log_softmax(-1)
    (slopes,) = torch.autograd.grad(-(rising.exp() * rising).sum(), raised)
    lowers = slopes.gather(-1, chosen)[..., 0] < 0

    anatomy = Anatomy(Interval(0.2, 0.2))
    for tokens in weighted.blocks(old, log_prob, advantages, mask, None, entropy):
        anatomy.observe(tokens, None)
    counts = anatomy.read(mask.sum())
    ratio = (log_prob - old).exp()
    regions = {
        "neg_below": (advantages < 0) & (ratio < 0.8),
        "pos_above": (advantages > 0) & (ratio > 1.2),
        "neg_above": (advantages < 0) & (ratio > 1.2),
        "pos_below": (advantages > 0) & (ratio < 0.8),
    }
    for name, region in regions.items():
        assert counts[f"{name}_sharp"] == (region & mask & lowers).sum()
        assert 0 < counts[f"{name}_sharp"] < counts[name]

"""The anatomy of an update: which tokens carry how much gradient weight, as counts and sums of tokens.

Per call of a loss, over the unmasked tokens, always sums and never fractions (records/anatomy.py divides):

    tokens, updates             tokens in the loss; 1 per call, i.e. micro-batches
    <region>                    tokens per region of losses/regions.py: neg_below, pos_above, neg_above,
                                pos_below, inside. Their sum is tokens − those with Â = 0 outside the interval
    dual_clipped                Â < 0 and δ > c, where the method has a dual clip
    weight_abs                  Σ |w·Â|, w before rollout-correction weights; absent for a weight unknown here
    weight_abs_outside          the part of it outside the interval [1 − ε_low, 1 + ε_high]
    pa_hp, pa_lp, na_hp, na_lp  Â > 0 or Â < 0 × π_old ≥ ½ or π_old < ½, see HIGH_PROBABILITY
    <region>_lp                 tokens of an outer region with π_old < ½
    <region>_sharp              tokens of an outer region with π_old > exp(−H(π_old)): to first order, raising
                                the probability of one lowers the entropy; absent without old_entropy
    k1, k3                      Σ −log δ and Σ (δ − 1 − log δ), nats: as the tokens come from π_old, per-token
                                means estimate KL(π_old‖π_θ) (Schulman, "Approximating KL Divergence", 2020)
    ratio, ratio_squared        Σδ and Σδ², for the effective sample size (Σδ)²/Σδ²
    log_ratio/00 … /58          tokens per bin of log δ; edges: records.anatomy.EDGES
    log_prob, advantage,        Σ log π_θ, Σ Â and Σ log π_θ·Â, for the covariance that drives the entropy
      log_prob_advantage          (arXiv 2505.22617; CE-GPPO, arXiv 2509.20712, §3)
    entropy, old_entropy        Σ over tokens of the entropy of π_θ (of π_old), −Σ_v π(v) log π(v), in nats,
                                over the full vocabulary, after the temperature; absent where the loss is
                                not given it

Regions and the dual clip go by the ratio that the method clips: the token's, or at level "sequence" the
response's exp(mean log δ). Everything else goes by the token's own δ for every method, so that it compares.
log δ is clamped to ±20 nats (losses/tokens.py). Counts are exact: a block's are below 2²⁴, fp32's last odd
integer, and blocks are added in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cegppo_verl.losses import regions
from cegppo_verl.losses.loss import Interval
from cegppo_verl.losses.tokens import Tokens
from cegppo_verl.records.anatomy import BINS, LARGEST, SMALLEST

HIGH_PROBABILITY = 0.5
"""A token is a high-probability one (HP) where π_old ≥ ½. CE-GPPO names the classes and gives no number.

To first order the entropy of a softmax falls when the token's logit rises if and only if π > exp(−H)
(dH/dz = −π (log π + H)); that bound differs from token to token and needs H. ½ is the smallest one that
holds whatever the other probabilities are: for π ≥ ½, H ≥ the binary entropy of π ≥ −log π; for π < ½ and
one alternative, H < −log π. So an HP token is one that surely lowers the entropy when it is reinforced."""

WEIGHTS = ("weight_abs", "weight_abs_outside")
_OUTER = ("neg_below", "pos_above", "neg_above", "pos_below")
_CODES = 1024  # sign, exponent and first mantissa bit of an fp32


class Anatomy:
    """Accumulates the sums block by block on the tensors' device, without waiting for it.

    Args:
        interval: what to count by.
        full: False counts only what verl's own metrics of ``vanilla`` need (neg_below, pos_above,
            dual_clipped, k1), at about a seventh of the price.
    """

    def __init__(self, interval: Interval, full: bool = True) -> None:
        self.interval, self.full = interval, full
        self._names: tuple[str, ...] = ()
        self._sums: list[Tensor] = []
        self._codes: list[Tensor] = []
        self._places = 0

    @torch.no_grad()
    def observe(self, tokens: Tokens, product: Tensor | None) -> None:
        """Count one block, tensors (rows, response_length).

        Args:
            product: w·Â, exactly 0 at padding; None in every block where the weight is unknown.
        """
        ratio = _bounded_ratio(tokens, self.interval)
        sums = _base_sums(ratio, tokens, self.interval)
        if self.full:
            sums |= _further_sums(ratio, tokens, product, self.interval)
            self._codes.append(_codes(tokens.log_ratio))
        else:
            sums |= _clip_sums(ratio, tokens, self.interval)
        self._names = tuple(sums)
        self._sums.append(torch.stack(list(sums.values())))
        self._places += ratio.numel()

    def read(self, tokens: Tensor) -> dict[str, float | Tensor]:
        """The totals: Python floats on a CPU, 0-dimensional float64 tensors on an accelerator.

        Args:
            tokens: 0-dimensional, the number of unmasked tokens.
        """
        if not self._sums:  # no rows: every count is 0, and must be there, as ranks are averaged
            self.observe(_no_tokens(tokens), tokens.new_zeros((0, 1), dtype=torch.float32))
        names = ("tokens", *self._names)
        sums = torch.cat([tokens.detach().double().reshape(1), _total(self._sums)])
        if self._codes:
            names, sums = names + BINS, torch.cat([sums, _histogram(_total(self._codes))])
        values = sums.tolist() if sums.device.type == "cpu" else sums.unbind()
        totals: dict[str, float | Tensor] = dict(zip(names, values, strict=True))
        for name in ("inside", "ratio", "ratio_squared", BINS[len(BINS) // 2]):  # padding has δ = 1
            if name in totals:
                totals[name] = totals[name] - (self._places - totals["tokens"])
        return totals | {"updates": 1.0}


def _total(blocks: list[Tensor]) -> Tensor:
    return torch.stack(blocks).double().sum(0)


def _no_tokens(like: Tensor) -> Tokens:
    empty = like.new_zeros((0, 1), dtype=torch.float32)
    return Tokens(slice(0, 0), empty.bool(), empty, empty, empty, empty)


def _bounded_ratio(tokens: Tokens, interval: Interval) -> Tensor:
    if interval.level == "token":
        return tokens.ratio
    return tokens.mean_log_ratio.exp().expand_as(tokens.ratio).masked_fill(tokens.padding, 1.0)


def _base_sums(ratio: Tensor, tokens: Tokens, interval: Interval) -> dict[str, Tensor]:
    sums = {"k1": -tokens.log_ratio.sum()}
    if interval.dual_clip is not None:
        sums["dual_clipped"] = regions.dual_clipped(ratio, tokens.advantages, interval.dual_clip).sum()
    return sums


def _clip_sums(ratio: Tensor, tokens: Tokens, interval: Interval) -> dict[str, Tensor]:
    """Where PPO clips. At padding δ = 1, so whatever Â is there is not counted."""
    negative, positive = regions.negative(tokens.advantages), regions.positive(tokens.advantages)
    below, above = regions.below(ratio, interval.epsilon_low), regions.above(ratio, interval.epsilon_high)
    return {"neg_below": _dot(negative, below), "pos_above": _dot(positive, above)}


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.dot(left.reshape(-1), right.reshape(-1))


def _further_sums(
    ratio: Tensor, tokens: Tokens, product: Tensor | None, interval: Interval
) -> dict[str, Tensor]:
    advantages, old_log_prob = _zero_at_padding(tokens)
    low = torch.lt(old_log_prob, math.log(HIGH_PROBABILITY), out=torch.empty_like(old_log_prob))
    within = regions.inside(ratio, interval.epsilon_low, interval.epsilon_high)
    return (
        _region_sums(ratio, advantages, low, interval)
        | {"inside": within.sum()}
        | _class_sums(advantages, low)
        | _weight_sums(product, within)
        | _divergence_sums(tokens)
        | _covariance_sums(advantages, old_log_prob, tokens.log_ratio)
        | _entropy_sums(tokens)
        | _sharp_sums(ratio, advantages, old_log_prob, tokens, interval)
    )


def _zero_at_padding(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Â and log π_old 0 at padding, NaN included; by its bits, which is nine times faster than a fill."""
    dtype = tokens.ratio.dtype
    bits = torch.int64 if dtype == torch.float64 else torch.int32
    keep = tokens.padding.to(bits).sub_(1)  # every bit set, or none
    old_log_prob = tokens.behaviour.detach().to(dtype)
    advantages, old_log_prob = (
        t.view(bits).bitwise_and(keep).view(dtype) for t in (tokens.advantages, old_log_prob)
    )
    return advantages, old_log_prob


def _outer(ratio: Tensor, advantages: Tensor, interval: Interval) -> tuple[Tensor, ...]:
    """Indicators of the regions of _OUTER."""
    below, above = regions.below(ratio, interval.epsilon_low), regions.above(ratio, interval.epsilon_high)
    negative, positive = regions.negative(advantages), regions.positive(advantages)
    return negative * below, positive * above, negative.mul_(above), positive.mul_(below)


def _region_sums(ratio: Tensor, advantages: Tensor, low: Tensor, interval: Interval) -> dict[str, Tensor]:
    found = _outer(ratio, advantages, interval)
    sums = {name: region.sum() for name, region in zip(_OUTER, found, strict=True)}
    return sums | {f"{name}_lp": region.mul_(low).sum() for name, region in zip(_OUTER, found, strict=True)}


def _sharp_sums(
    ratio: Tensor, advantages: Tensor, old_log_prob: Tensor, tokens: Tokens, interval: Interval
) -> dict[str, Tensor]:
    """Padding has log π = 0 and H = 0, so it is not above its own threshold."""
    if tokens.given_old_entropy is None:
        return {}
    sharp = torch.gt(old_log_prob, -tokens.old_entropy, out=torch.empty_like(old_log_prob))
    found = _outer(ratio, advantages, interval)
    return {f"{name}_sharp": region.mul_(sharp).sum() for name, region in zip(_OUTER, found, strict=True)}


def _class_sums(advantages: Tensor, low: Tensor) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    for name, sign in (("pa", regions.positive(advantages)), ("na", regions.negative(advantages))):
        every, in_low = sign.sum(), sign.mul_(low).sum()
        sums |= {f"{name}_hp": every - in_low, f"{name}_lp": in_low}
    return sums


def _weight_sums(product: Tensor | None, within: Tensor) -> dict[str, Tensor]:
    if product is None:
        return {}
    size = product.abs()
    outside = torch.addcmul(size, size, within, value=-1.0)  # exactly 0 within, no cancellation
    return dict(zip(WEIGHTS, (size.sum(), outside.sum()), strict=True))


def _divergence_sums(tokens: Tokens) -> dict[str, Tensor]:
    """k3 by expm1: in fp32, δ − 1 has lost what matters where log δ is small."""
    ratio, log_ratio = tokens.ratio, tokens.log_ratio
    k3 = log_ratio.expm1().sub_(log_ratio)
    return {"k3": k3.sum(), "ratio": ratio.sum(), "ratio_squared": ratio.square().sum()}


def _covariance_sums(advantages: Tensor, old_log_prob: Tensor, log_ratio: Tensor) -> dict[str, Tensor]:
    log_prob = old_log_prob + log_ratio
    return {
        "log_prob": log_prob.sum(),
        "advantage": advantages.sum(),
        "log_prob_advantage": log_prob.mul_(advantages).sum(),
    }


def _entropy_sums(tokens: Tokens) -> dict[str, Tensor]:
    given = {"entropy": tokens.given_entropy, "old_entropy": tokens.given_old_entropy}
    return {name: getattr(tokens, name).sum() for name, tensor in given.items() if tensor is not None}


def _codes(log_ratio: Tensor) -> Tensor:
    """How often each sign, exponent and first mantissa bit occurs in log δ as fp32; padding counts as 0.

    Shifting bits finds a token's bin 20 times faster than a search among edges.
    """
    codes = (log_ratio.float().view(torch.int32) >> 22).add_(_CODES // 2).flatten()
    if codes.device.type == "cpu":
        return torch.bincount(codes, minlength=_CODES)
    return torch.histc(codes.float(), _CODES, 0, _CODES).double()  # bincount would wait for the device


def _histogram(codes: Tensor) -> Tensor:
    """Bins of records.anatomy.EDGES from the counts of :func:`_codes`; NaN is in no bin."""
    first, last, infinite = 2 * (127 + SMALLEST), 2 * (127 + LARGEST), 2 * 255
    below, above = codes[: _CODES // 2], codes[_CODES // 2 :]
    centre = below[:first].sum(0, keepdim=True) + above[:first].sum(0, keepdim=True)
    ends = [side[last:infinite].sum(0, keepdim=True) for side in (below, above)]
    return torch.cat([ends[0], below[first:last].flip(0), centre, above[first:last], ends[1]])

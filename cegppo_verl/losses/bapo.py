"""BAPO: PPO-clip whose two bounds are searched anew per mini-batch until Â > 0 carries enough of the loss.

    ℓ = min(δ·Â, clip(δ, c_low, c_high)·Â)
    w = 0 for Â < 0 and δ < c_low, and for Â > 0 and δ > c_high;  δ elsewhere    (PPO-clip)

    share ρ(c_low, c_high) = P / (P + N)                                        (Eq. 8)
    P(c_high) = Σ_{Â>0} π_old·min(δ, c_high)·Â         contribution of the tokens with Â > 0
    N(c_low)  = Σ_{Â<0} π_old·max(δ, c_low)·|Â|        of those with Â < 0

    start at c_low = a⁻, c_high = a⁺
    while ρ < ρ0 and a bound can move:                                          (Algorithm 1)
        c_high ← c_high + δ1 as long as it stays within b⁺, else c_low ← c_low + δ2 as long as within b⁻

So a clipped token counts with the value at its bound, a token weighs π_old (the rollout policy), and the
upper bound is used up before the lower one moves. Raising c_low clips more tokens with Â < 0, yet by Eq. 8
it raises N and lowers ρ; so a search that has used up c_high always runs on to b⁻. The printed rule is
kept as it is. If nothing counts (P = N = 0) the bounds stay put. π_old is the policy that δ is formed
with, which stands for the rollout policy.

``search = code`` is the authors' repository instead: P and N without π_old, ρ = P / N against its target,
and the lower bound first; it sets the target to .5 in the example script and to 1 in the configuration
file.

P and N at every candidate are sums over tokens, so those of micro-batches and ranks add up to the
mini-batch's and the search on the totals is the search on the mini-batch.

Read in: a reading note on the paper (ICLR 2026) that prints Eq. 8, the order, the ranges and the steps;
an issue of agentscope-ai/Trinity-RFT that names Eq. 8, Algorithm 1 and the same order; WooooDyy/BAPO,
recipe/bapo/policy_loss.py, its configuration and README (ρ0 = .5); this project's fact sheet (the same
ranges and steps, ρ0 = .4). The text of arXiv 2510.18927 itself could not be had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters, ppo_clip
from cegppo_verl.losses.loss import Loss, Statistics
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SOURCE = "arXiv 2510.18927 (reading note, fact sheet)"
WHY = "BAPO's bounds are ratios, not distances from 1: .6 to .9 below, 1.2 to 3.0 above"


def _bound(symbol: str, doc: str, default: float, low: float, high: float) -> Any:
    about = {"source": SOURCE, "low": low, "high": high, "unit": "token ratio δ", "why": lambda _: WHY}
    return param(symbol, doc, default=default, **about)


def _step(symbol: str, side: str, default: float) -> Any:
    # Below a thousandth the candidates, each of which costs a pass over the tokens, run into the thousands.
    return param(symbol, f"step of the {side} bound", default=default, source=SOURCE, low=1e-3, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of BAPO.

    ``c_low`` and ``c_high`` are where every search starts; in an update they hold what the search found.
    """

    c_low: float = _bound("a⁻", "lower bound at which the search starts", 0.6, 0.001, 1.0)
    c_low_max: float = _bound("b⁻", "largest lower bound", 0.9, 0.001, 1.0)
    c_high: float = _bound("a⁺", "upper bound at which the search starts", 1.2, 1.0, 1000.0)
    c_high_max: float = _bound("b⁺", "largest upper bound", 3.0, 1.0, 1000.0)
    step_low: float = _step("δ2", "lower", 0.02)
    step_high: float = _step("δ1", "upper", 0.05)
    target: float = param(
        "ρ0",
        "share of the loss that tokens with Â>0 are to have; for search = code their ratio to those with Â<0",
        default=0.4,
        source="arXiv 2510.18927 (reading note, fact sheet); the authors' README has .5",
        high=1000.0,
    )
    search: str = param(
        "search",
        "what counts as contribution and which bound moves first, as in the paper or in the authors' code",
        default="paper",
        source="see the module's text",
        choices=("paper", "code"),
    )
    dual_clip: float | None = parameters.dual_clip(None, "off in the paper; the authors' code uses verl's 3")

    def check(self) -> None:
        """The ranges must not be empty; a share is at most 1."""
        for name in ("c_low", "c_high"):
            start, end = getattr(self, name), getattr(self, f"{name}_max")
            if start > end:
                raise ValueError(f"{name} {start} must not be above {name}_max {end}")
        if self.search == "paper" and self.target > 1:
            raise ValueError(f"target {self.target} is a share of the loss and must be at most 1")

    @property
    def epsilon_low(self) -> float:
        """The lower bound's distance from 1."""
        return 1.0 - self.c_low

    @property
    def epsilon_high(self) -> float:
        """The upper bound's distance from 1."""
        return self.c_high - 1.0


def collect(tokens: Tokens, params: Params) -> Tensor:
    """P at every candidate c_high, then N at every candidate c_low, summed over these tokens (1-d)."""
    import torch  # here: whoever only reads a loss's parameters needs no torch

    size = tokens.advantages.masked_fill(tokens.padding, 0.0)
    if params.search == "paper":
        size = size * tokens.old_prob
    gains, losses = size.clamp(min=0.0).flatten(), size.clamp(max=0.0).neg_().flatten()
    ratio = tokens.ratio.flatten()
    sums = [gains.dot(ratio.clamp(max=bound)) for bound in highs(params)]
    sums += [losses.dot(ratio.clamp(min=bound)) for bound in lows(params)]
    return torch.stack(sums).double()


def decide(totals: list[float], params: Params) -> Mapping[str, float]:
    """The bounds that the search ends with, from the totals of :func:`collect` over the mini-batch."""
    upper, lower = highs(params), lows(params)
    gains, losses = totals[: len(upper)], totals[len(upper) :]
    at = {"c_high": 0, "c_low": 0}
    last = {"c_high": len(upper) - 1, "c_low": len(lower) - 1}
    order = ("c_high", "c_low") if params.search == "paper" else ("c_low", "c_high")
    while _balance(gains[at["c_high"]], losses[at["c_low"]], params) < params.target:
        movable = [name for name in order if at[name] < last[name]]
        if not movable:
            break
        at[movable[0]] += 1
    return {"c_low": lower[at["c_low"]], "c_high": upper[at["c_high"]]}


def _balance(gain: float, loss: float, params: Params) -> float:
    """ρ; ∞ where there is nothing to balance."""
    whole = gain + loss if params.search == "paper" else loss
    return gain / whole if whole > 0 else math.inf


def highs(params: Params) -> list[float]:
    """The candidates for c_high, from its start upwards."""
    return _candidates(params.c_high, params.c_high_max, params.step_high)


def lows(params: Params) -> list[float]:
    """The candidates for c_low, from its start upwards."""
    return _candidates(params.c_low, params.c_low_max, params.step_low)


def _candidates(start: float, end: float, step: float) -> list[float]:
    # Rounding must neither cost the last candidate nor show in the bounds that are logged.
    count = int((end - start) / step + 1e-9)
    return [min(round(start + step * i, 12), end) for i in range(count + 1)]


LOSS = Loss(
    params=Params,
    weight=ppo_clip.weight,
    value=ppo_clip.value,
    title="BAPO",
    summary="PPO-clip with bounds searched anew per mini-batch until Â>0 has its share of the loss",
    paper="arXiv 2510.18927",
    equation="Eq. 8 and Algorithm 1",
    positive="δ ≤ c_high: δ; else 0",
    negative="δ ≥ c_low: δ; else 0",
    departures=(
        "The search sees the whole mini-batch on all ranks (the authors' code: each micro-batch). The "
        "authors' code leaves π_old out, takes P/N as the target and moves the lower bound first: "
        "search = code. It does not see rollout-correction weights, which multiply the loss afterwards. Its "
        "dual clip of 3 is an option, off by default. A bound moves in whole steps "
        "only; the code's last step may be shorter."
    ),
    statistics=Statistics(collect, decide),
)

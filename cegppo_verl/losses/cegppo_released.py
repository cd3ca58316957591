"""CE-GPPO as the authors' released scripts train it, which is more than the paper's Eq. 8.

    loss = −mean over tokens of ℓ   +   .1 · mean over tokens of correct responses of −log π_θ

    ℓ    CE-GPPO's (see ``cegppo``), with a dual clip: Â < 0 and δ > c = 10 gives the constant c·Â, w = 0
    means are taken over each micro-batch (masked_mean), which enters with its share of the mini-batch's rows

β1 and β2 are required: .5, 1 in the 1.5B script, .75, 1 in the 7B script; .25 in the code's defaults.

Read in: Kwai-Klear/CE-GPPO, commit 10558fe: verl/trainer/ppo/core_algos.py (compute_gppo_loss_general_beta),
verl/workers/actor/dp_actor.py (update_policy) and recipe/dapo/{1_5B,7B}_perf_run_gppo_v1_*_ours_math.sh.

A response is correct there when its reward is 1 (wrong: −1); here when Â > 0. In a group with both outcomes
the two agree, as Â is the reward minus the group's mean. They differ in groups that are all correct (Â = 0),
which the scripts' group filter drops, and so does this loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.losses import cegppo, parameters, regions
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SCRIPTS = "the released scripts (Kwai-Klear/CE-GPPO)"


@dataclass(frozen=True, kw_only=True)
class Params(cegppo.Params):
    """Hyper-parameters of the released scripts: those of ``cegppo``, the dual clip on, and λ."""

    dual_clip: float = parameters.dual_clip(10.0, SCRIPTS, nullable=False)
    positive_loss_coeff: float = param(
        "λ",
        "weight of the mean negative log-likelihood of correct responses",
        default=0.1,
        high=10.0,
        source=SCRIPTS,
        unit="relative to the policy loss",
    )


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of Eq. 8 with the dual clip; the NLL term is :func:`auxiliary`."""
    return cegppo.weight(tokens, params)


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised): w·Â, and c·Â for the tokens that the dual clip drops."""
    clipped = regions.dual_clipped(tokens.ratio, tokens.advantages, params.dual_clip)
    return weight(tokens, params).add_(clipped.mul_(params.dual_clip)).mul_(tokens.advantages)


def auxiliary(log_prob: Tensor, advantages: Tensor, mask: Tensor, params: Params) -> Tensor:
    """λ · mean over tokens of correct responses (Â > 0) of −log π_θ; 0 when there is none.

    Args:
        log_prob: of π_θ, nats, attached to the graph, (batch, response_length).
        advantages, mask: the same shape; Â may hold anything where the mask is 0.
    """
    other = (mask.bool() & (advantages > 0)).logical_not()
    correct = other.numel() - other.sum()
    wide = log_prob if log_prob.element_size() >= 4 else log_prob.float()
    # The fill comes first: padding may hold NaN or −inf, and 0·NaN is NaN, in the gradient too.
    total = -wide.masked_fill(other, 0.0).sum()
    return params.positive_loss_coeff * total / correct.clamp(min=1)


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="CE-GPPO (released)",
    summary="CE-GPPO as released: with dual clip 10, NLL of correct responses and means per micro-batch",
    paper="arXiv 2509.20712",
    equation="Eq. 8 and the released code, commit 10558fe",
    positive="δ ≤ 1+ε_high: δ; else β2(1+ε_high); plus λ·NLL",
    negative="1−ε_low ≤ δ ≤ c: δ; δ < 1−ε_low: β1(1−ε_low); δ > c: 0",
    departures=(
        "Correct means Â > 0 instead of reward = 1: the same once groups without variance are left out, as "
        "the scripts' group filter does and as here (responses with Â = 0 throughout take no part in the "
        "means). The scripts draw 256 prompts to have up to 128 left; here as many as the grid's settings "
        "say are drawn, and those with variance are trained on: a micro-batch enters with its share of all "
        "rows drawn, however few of them its mean is over, and one that is left with none adds nothing. The "
        "log-ratio is clamped to ±20, and the kept weights are constants, where the released expression "
        "gives NaN at extreme ratios."
    ),
    auxiliary=auxiliary,
    reduction="micro-batch",
    group_filter=True,
    loss_agg_mode="token-mean",
)

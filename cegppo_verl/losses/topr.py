"""TOPR: wrong responses weighted by their sequence ratio, at most 1, correct ones by 1 (arXiv 2503.14286).

    ∇J = Σ_{τ: R(τ) ≥ 0} μ(τ) R(τ) ∇log π(τ) + Σ_{τ: R(τ) < 0} μ(τ) [π(τ)/μ(τ)]₀¹ R(τ) ∇log π(τ)

    τ   a whole response      μ   the policy that sampled it      [x]₀¹ = min(max(x, 0), 1)

    w = 1                              Â > 0
    w = clip(Π_t δ_t, low, high)       Â < 0, the same for every token of the response

Π δ_t is the plain product over the response, not its length-normalised root: long wrong responses are dropped
(w ≈ 0) as soon as the policy has moved away from them, and kept at 1 where it moved towards them.

Read in: the paper's abstract and public accounts of its gradient (its §3), which agree with one another; the
authors' code was not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.losses import parameters, regions
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param
from cegppo_verl.losses.tokens import MAX_LOG_RATIO

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SOURCE = "arXiv 2503.14286 §3"
UNIT = "ratio of the whole sequence, Π δ"


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of TOPR: the taper of wrong responses."""

    ratio_low: float = param(
        "a", "smallest weight of a response with Â<0", default=0.0, high=1.0, source=SOURCE, unit=UNIT
    )
    ratio_high: float = param(
        "b", "largest weight of a response with Â<0", default=1.0, source=SOURCE, unit=UNIT
    )

    def check(self) -> None:
        """The lower bound must lie below the upper one."""
        if not self.ratio_low < self.ratio_high:
            raise ValueError(f"ratio_low {self.ratio_low:g} is not below ratio_high {self.ratio_high:g}")


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w of TOPR, shape and dtype of ``tokens.ratio``."""
    # A product of thousands of ratios overflows; one beyond the clamp of a single ratio is clipped anyway.
    sequence_ratio = tokens.sequence_log_ratio.clamp(max=MAX_LOG_RATIO).exp()
    tapered = sequence_ratio.clamp(params.ratio_low, params.ratio_high)
    return tapered.new_ones(()).lerp(tapered, regions.negative(tokens.advantages))


LOSS = Loss(
    params=Params,
    weight=weight,
    title="TOPR",
    summary="REINFORCE, wrong responses weighted by their whole-sequence ratio, tapered to [0, 1]",
    paper="arXiv 2503.14286",
    equation="the TOPR gradient, §3",
    positive="1",
    negative="clip(Π δ, 0, 1)",
    departures=(
        "The paper rewards R = ±1 without a baseline, and its sign of R decides; here Â is whatever the "
        "harness's advantage estimator gives (group-normalised: mean subtracted, divided by the group's "
        "standard deviation), and its sign decides. So groups that are all right or all wrong give no "
        "gradient here, and do in the paper. The reduction is the paper's, whole sequences: "
        "seq-mean-token-sum. log Π δ is capped at 20, which matters for ratio_high > e^20 only. μ is π_old "
        "of the update, not an earlier iteration's policy. The logged value is w·Â. Regions are "
        "counted by the reference interval ±.2."
    ),
    loss_agg_mode="seq-mean-token-sum",
)

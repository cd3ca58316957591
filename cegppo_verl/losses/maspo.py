"""MASPO: a one-sided Gaussian gate instead of a clip, wider for rare tokens and for trusted signals.

    ℓ = sg(F)·δ·Â,

        ⎧ exp(−(δ − 1)² / 2σ_pos²)    Â > 0 and δ > 1
    F = ⎨ exp(−(δ − 1)² / 2σ_neg²)    Â < 0 and δ < 1
        ⎩ 1                           otherwise

    σ_pos = σ_base / π_old^α · (1 + β_high·Â)         mass-adaptive limiter · risk controller
    σ_neg = σ_base / π_old^α · (1 − β_low·Â)^−1       (Â < 0: narrower than σ_base / π_old^α)

    w = F·δ

Read in: the authors' README (VenomRose-Juri/MASPO-RL, "Soft Gaussian Gating", "Dual-Variable Adaptive
Variance") and their verl/trainer/ppo/core_algos.py, which detaches δ inside F; the text of arXiv
2602.17550 itself could not be had. That code also bounds σ_base/π_old^α to [σ_base, 10] (``sigma_high``
here, off by default) and the risk factor to [.1, 10], which binds only for |Â| > 300 at β = .03 and is
left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import parameters
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SOURCE = "authors' README (MASPO-RL): 1, .3, .03, .03"


def _beta(symbol: str, sign: str) -> Any:
    return param(
        symbol,
        f"how much the size of Â widens (Â>0) or narrows (Â<0) the gate of tokens with {sign}",
        default=0.03,
        source=SOURCE,
        unit="per unit of advantage Â",
    )


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of MASPO. The README suggests α = .5 for 1.5B models and .3 for larger ones."""

    sigma_base: float = param(
        "σ_base",
        "width of the gate where π_old = 1 and β = 0",
        default=1.0,
        source=SOURCE,
        low=1e-3,  # ours: below it nearly every token is gated away
        unit="token ratio δ",
    )
    alpha: float = param("α", "how fast the gate widens as π_old falls", default=0.3, source=SOURCE, high=1.0)
    beta_low: float = _beta("β_low", "Â<0")
    beta_high: float = _beta("β_high", "Â>0")
    sigma_high: float | None = param(
        "σ_high",
        "upper bound of σ_base/π_old^α",
        default=None,
        source="off in the README's equation; the authors' code uses 10",
        open_low=True,
        unit="token ratio δ",
        nullable=True,
    )

    def check(self) -> None:
        """The bound must not lie below the width that it bounds."""
        if self.sigma_high is not None and self.sigma_high < self.sigma_base:
            raise ValueError(f"sigma_high {self.sigma_high} must not be below sigma_base {self.sigma_base}")


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â, π_old) of MASPO.

    1/σ is formed instead of σ: it underflows to 0 for π_old → 0 (no gate) where σ would overflow.
    """
    advantages = tokens.advantages
    narrow = tokens.old_log_prob.mul(params.alpha).exp_().div_(params.sigma_base)
    if params.sigma_high is not None:
        narrow.clamp_(min=1.0 / params.sigma_high)
    narrow.mul_(advantages.clamp(max=0.0).mul_(-params.beta_low).add_(1.0))
    narrow.div_(advantages.clamp(min=0.0).mul_(params.beta_high).add_(1.0))
    excess = (tokens.ratio - 1.0).mul_(advantages.sign()).clamp_(min=0.0)
    return excess.mul_(narrow).square_().mul_(-0.5).exp_().mul_(tokens.ratio)


LOSS = Loss(
    params=Params,
    weight=weight,
    title="MASPO",
    summary="a one-sided Gaussian gate on the token ratio, wider for improbable tokens and large positive Â",
    paper="arXiv 2602.17550",
    equation="F^MASPO, σ_pos and σ_neg (in the authors' README; the paper's numbering was not seen)",
    positive="δ ≤ 1: δ; else δ·exp(−(δ−1)²/2σ²), σ = σ_base/π_old^α·(1+β_high·Â)",
    negative="δ ≥ 1: δ; else δ·exp(−(δ−1)²/2σ²), σ = σ_base/π_old^α/(1+β_low·|Â|)",
    departures=(
        "Equations from the authors' README and code, not from the paper's text. The code's bounds are "
        "not applied: σ_base/π_old^α ≤ 10 is the option sigma_high, risk factor in [.1, 10] is left out "
        "(it binds only for |Â| > 300). No dual clip, as in the code."
    ),
)

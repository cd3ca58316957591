"""ERC, entropy ratio clipping: tokens at which the policy's entropy has moved too far get no gradient.

    ρ = H(π_θ) / H(π_old) at the token,    I = 1 where 1 − β_low < ρ < 1 + β_high, else 0

    ℓ = I·ℓ_base,    w = I·w_base

    base dapo:  w = 0 for Â < 0, δ < 1 − ε_low; for Â > 0, δ > 1 + ε_high; for Â < 0, δ > c; else δ
    base gppo:  w = 1 − ε_low and w = 1 + ε_high in the first two cases (arXiv 2508.07629)

Entropies are those of the full next-token distribution, in nats. ρ is taken as (H_θ + 1e-8)/(H_old +
1e-8), as in the authors' code: where π_old is deterministic (H_old = 0) a token keeps its gradient only
while H_θ is below β_high·1e-8, i.e. deterministic as well. I is not differentiated.

Read in: the authors' README ("Implementation of ERC", Kwai-Klear/ERC) and recipe/dapo/*_erc_1_05.sh
(bounds .95 and 1.05; ε .2/.28 with DAPO, .2/.2 with GPPO; c = 10), and the abstract of arXiv 2512.05591.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cegppo_verl.losses import gppo, parameters, ppo_clip
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SMOOTHING = 1e-8  # nats, added to both entropies, as in the authors' code


def _why(value: float) -> str:
    return "β is a distance from 1, not a bound: .05 for an entropy ratio between .95 and 1.05"


def _beta(symbol: str, side: str, high: float) -> Any:
    return param(
        symbol,
        f"{side} distance from 1 of the entropy ratio within which tokens keep their gradient",
        default=0.05,
        source="authors' scripts: entropy_mask_low .95, entropy_mask_high 1.05",
        open_low=True,
        high=high,
        unit="distance from 1 of H_θ/H_old",
        why=_why,
    )


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of ERC. With GPPO the authors' scripts have ε_high = .2."""

    base: str = param(
        "base",
        "the loss that is masked",
        default="dapo",
        source="the paper's first",
        choices=("dapo", "gppo"),
    )
    beta_low: float = _beta("β_low", "lower", 1.0)
    beta_high: float = _beta("β_high", "upper", 100.0)
    epsilon_low: float = parameters.epsilon_low(0.2, "authors' scripts")
    epsilon_high: float = parameters.epsilon_high(0.28, "authors' scripts with DAPO; .2 with GPPO")
    dual_clip: float | None = parameters.dual_clip(None, "off; the authors' scripts use 10")


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â, H_θ, H_old) of ERC."""
    return _base(tokens, params).mul_(kept(tokens, params))


def kept(tokens: Tokens, params: Params) -> Tensor:
    """Indicator of 1 − β_low < ρ < 1 + β_high, without a division."""
    import torch  # here: whoever only reads a loss's parameters needs no torch

    entropy, old = tokens.entropy + SMOOTHING, tokens.old_entropy + SMOOTHING
    inside = torch.gt(entropy, (1.0 - params.beta_low) * old, out=torch.empty_like(entropy))
    return inside.mul_(torch.lt(entropy, (1.0 + params.beta_high) * old, out=torch.empty_like(entropy)))


def _base(tokens: Tokens, params: Params) -> Tensor:
    if params.base == "dapo":
        return ppo_clip.weight(tokens, params)
    edges = {name: getattr(params, name) for name in ("epsilon_low", "epsilon_high", "dual_clip")}
    return gppo.weight(tokens, gppo.Params(**edges))


LOSS = Loss(
    params=Params,
    weight=weight,
    title="ERC (entropy ratio clipping)",
    summary="DAPO's or GPPO's loss, masked where the token's entropy has moved by more than β from π_old's",
    paper="arXiv 2512.05591",
    equation="entropy ratio ρ and its mask (authors' README; the paper's numbering was not seen)",
    positive="1−β_low < H_θ/H_old < 1+β_high: the base's; else 0",
    negative="the same",
    departures=(
        "Dual clip (authors' scripts: c = 10) is an option, off by default. The value logged is w·Â for "
        "either base: 0 for dropped tokens, as the mask multiplies the surrogate (the authors' code keeps "
        "their value and stops their gradient), and 0 for those that DAPO's clip drops."
    ),
    needs=frozenset({"entropy", "old_entropy"}),
)

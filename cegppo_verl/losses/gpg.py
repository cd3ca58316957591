"""GPG: the plain policy gradient, without ratio and clip. verl's own ``gpg`` runs; this describes it.

    ℓ = log π·Â                                                       (arXiv 2504.02546)
    w = 1

The rest of the paper's method is its advantage, α·(R − mean)/F with α = group size over the responses that
carry a gradient. Here the grid's advantages are used, as for every other loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.losses import parameters
from cegppo_verl.losses.loss import Loss

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """GPG's loss has no hyper-parameters."""


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight of GPG: 1 for every token."""
    return tokens.ratio.new_ones(tokens.ratio.shape)


def value(tokens: Tokens, params: Params) -> Tensor:
    """Surrogate ℓ (to be maximised), per token."""
    return tokens.log_prob * tokens.advantages


LOSS = Loss(
    params=Params,
    weight=weight,
    value=value,
    title="GPG",
    summary="the plain policy gradient: no ratio, no clip (verl's gpg)",
    paper="arXiv 2504.02546",
    equation="GPG objective",
    positive="1",
    negative="1",
    departures=(
        "Only the loss: the paper's advantage (no division by the standard deviation, rescaled by α for "
        "groups without a gradient; verl: algorithm.adv_estimator=gpg) is not switched on by it."
    ),
    runs="gpg",
)

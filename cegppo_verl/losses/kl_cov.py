"""KL-Cov: a KL penalty on the few tokens that lower entropy most. verl's own ``kl_cov`` runs.

    cov_t = (log π_t − mean log π)·(Â_t − mean Â)                     (arXiv 2505.22617)
    I     = the share k of the tokens with the largest cov
    ℓ     = δ·Â for t not in I, δ·Â − β·|log δ| for t in I

w is δ, and ∓β is added to w·Â for t in I, which depends on ranks within the batch: there is no weight here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cegppo_verl.losses import parameters
from cegppo_verl.losses.clip_cov import why_share
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of KL-Cov: the paper's, not verl's (2e-4 and .1)."""

    kl_cov_ratio: float = param(
        "k",
        "share of the tokens that get the penalty",
        default=2e-3,
        source="arXiv 2505.22617: 2e-3 at 7B, 2e-4 at 32B",
        open_low=True,
        high=0.5,
        unit="fraction of a micro-batch's tokens",
        why=why_share,
    )
    coefficient: float = param(
        "β",
        "weight of the penalty",
        default=1.0,
        source="arXiv 2505.22617: 1",
        high=100.0,
        unit="advantage per nat of |log δ|",
        why=lambda _: "β is 1 in the paper",
    )


def _settings(params: Params) -> Mapping[str, object]:
    return {"policy_loss.kl_cov_ratio": params.kl_cov_ratio, "policy_loss.ppo_kl_coef": params.coefficient}


LOSS = Loss(
    params=Params,
    weight=None,
    title="KL-Cov",
    summary="a KL penalty on the few tokens whose covariance lowers entropy most (verl's kl_cov)",
    paper="arXiv 2505.22617",
    equation="KL-Cov objective",
    positive="δ; chosen tokens: δ − β·sign(log δ)/Â",
    negative="δ; chosen tokens: δ − β·sign(log δ)/Â",
    departures=(
        "There is no clip, as in the paper. verl estimates the KL divergence by |log δ| of the token. Means "
        "and ranks are those of a micro-batch, and at least one token of each is chosen: below 500 tokens "
        "a micro-batch the share is more than 2e-3. It does not clamp log δ. verl's defaults are k = 2e-4 "
        "and β = .1; here they are the paper's at 7B."
    ),
    runs="kl_cov",
    verl=_settings,
)

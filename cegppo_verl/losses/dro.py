"""DRO: policy gradient with a quadratic penalty on the log-ratio. verl's own ``dro`` runs; this declares it.

    ℓ = log π·Â − (β/2)·(log δ)²                                     (verl 0.9.1; cf. arXiv 2405.19107, DRO-V)
    ∇ℓ = (Â − β log δ)·∇log π

The penalty's gradient is there without an advantage too, so it is no w·Â∇log π: formally w = 1 − β log δ/Â,
which has no value at Â = 0. Hence there is no weight here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cegppo_verl.losses import parameters
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import param


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameter of DRO. The paper's τ (best: 1.0) is for another square, so there is no default."""

    beta: float = param(
        "β",
        "weight of half the squared log-ratio of each token",
        example=0.1,
        source="none: arXiv 2405.19107's τ = 1 multiplies the squared log-ratio of the whole response",
        open_low=True,
        high=100.0,  # ours: at β = 100 a ratio 1 % off outweighs an advantage of 1
        unit="advantage per nat of log δ",
        why=lambda _: "β must be positive (verl refuses 0); β·log δ is compared with Â, which is of order 1",
    )


def _settings(params: Params) -> Mapping[str, object]:
    return {"policy_loss.dro_beta": params.beta}


LOSS = Loss(
    params=Params,
    weight=None,
    title="DRO",
    summary="policy gradient with a quadratic penalty on each token's log-ratio (verl's dro)",
    paper="arXiv 2405.19107",
    equation="gradient of DRO-V, divided by τ",
    positive="1 − β log δ/Â",
    negative="1 − β log δ/Â",
    departures=(
        "The paper is offline: π_ref in place of π_old, a learned value V in Â = R − V, and the square of "
        "the log-ratio of the whole response. verl squares each token's, against π_old, with whatever Â it "
        "is given; β stands where the paper has τ. verl does not clamp log δ."
    ),
    runs="dro",
    verl=_settings,
)

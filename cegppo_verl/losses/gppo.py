"""GPPO: clipped tokens keep the gradient of the edge they crossed (arXiv 2508.07629, Klear-Reasoner).

    ℓ = min(δ·Â, clip(δ, (1 − ε_low)/sg(δ)·δ, (1 + ε_high)/sg(δ)·δ)·Â)

    δ  π_θ / π_old of the token        sg  stop-gradient        Â  its advantage

The clip bounds carry the factor δ/sg(δ), whose value is 1 and whose gradient is ∇log π. So

    w = min(δ, 1 + ε_high)   Â > 0
    w = max(δ, 1 − ε_low)    Â < 0

and the value of ℓ is w·Â. This is CE-GPPO with β1 = β2 = 1 (see ``cegppo``).

Read in: the authors' code, Kwai-Klear/KlearReasoner, verl/trainer/ppo/core_algos.py (compute_gppo_loss) and
recipe/dapo/perf_run_dapo_ours_math.sh; of the paper only the abstract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cegppo_verl.losses import parameters, regions
from cegppo_verl.losses.loss import Loss

if TYPE_CHECKING:
    from torch import Tensor

    from cegppo_verl.losses.tokens import Tokens

SCRIPTS = "KlearReasoner's training scripts"


@dataclass(frozen=True, kw_only=True)
class Params(parameters.Parameters):
    """Hyper-parameters of GPPO; the dual clip is off, the authors' scripts use c = 10."""

    epsilon_low: float = parameters.epsilon_low(0.2, SCRIPTS)
    epsilon_high: float = parameters.epsilon_high(0.28, SCRIPTS)
    dual_clip: float | None = parameters.dual_clip(None, f"{SCRIPTS} use 10")


def weight(tokens: Tokens, params: Params) -> Tensor:
    """Gradient weight w(δ, Â) of GPPO, shape and dtype of ``tokens.ratio``."""
    ratio, advantages = tokens.ratio, tokens.advantages
    raised = ratio.clamp(min=1.0 - params.epsilon_low)
    w = raised.lerp_(ratio.clamp(max=1.0 + params.epsilon_high), regions.positive(advantages))
    if params.dual_clip is not None:
        w.mul_(1.0 - regions.dual_clipped(ratio, advantages, params.dual_clip))
    return w


LOSS = Loss(
    params=Params,
    weight=weight,
    title="GPPO",
    summary="PPO-clip whose clipped tokens keep the full gradient of the edge (CE-GPPO with β1 = β2 = 1)",
    paper="arXiv 2508.07629",
    equation="the GPPO objective (read in the authors' compute_gppo_loss)",
    positive="min(δ, 1+ε_high)",
    negative="max(δ, 1−ε_low)",
    departures=(
        "Dual clip (authors' scripts: c = 10) is an option, off by default; under it a token's value is w·Â"
        " = 0, in their code c·Â (the gradient is 0 in both). Their NLL term on correct responses (weight "
        ".1) is not part of this loss; `cegppo_released` has it."
    ),
)

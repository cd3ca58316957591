"""The gradient weight w against δ, as the loss's own code returns it. Needs torch; nothing else here does.

Every response is one token, so that sequence-level ratios are δ too. Where a loss looks at more than δ and
the sign of Â, the state it is drawn in is stated: π_old, |Â| = 1, and entropies of 1 nat before and after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cegppo_verl.errors import UserError
from cegppo_verl.losses.loss import Loss

LIMIT = 3.0
"""Curves reach from log δ = −3 to 3, δ from 0.05 to 20."""
POINTS = 481
REFERENCE_PROB = 0.04
"""π_old of the main curve. δ = 20 is still a probability then: 0.04 · 20 = 0.8."""
OTHER_PROBS = (0.2, 0.8)
ENTROPY = 1.0


@dataclass(frozen=True)
class Curve:
    """w on a grid of log δ, for one π_old.

    Attributes:
        log_ratio: (points,) log δ, ascending; only where π_θ = δ·π_old ≤ 1.
        positive, negative: (points,) w for Â = 1 and Â = −1.
    """

    old_prob: float
    log_ratio: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


def curves(loss: Loss, params: Any) -> list[Curve]:
    """The curve at :data:`REFERENCE_PROB`, and at other π_old where they make a difference.

    Raises:
        UserError: torch is not installed, or the loss has no closed-form weight, or its code fails here.
    """
    require_weight(loss)
    main = curve(loss, params, REFERENCE_PROB)
    others = [curve(loss, params, prob) for prob in OTHER_PROBS]
    return [main, *(other for other in others if _differs(main, other))]


def require_weight(loss: Loss) -> None:
    """Raise UserError where no curve exists, saying why."""
    if loss.weight is None:
        raise UserError(f"{loss.title} has no curve: {why_no_curve(loss)}", hint="leave --figure out")


def why_no_curve(loss: Loss) -> str:
    """Why w is not a function of δ and Â."""
    described = loss.positive or loss.summary
    return f"its gradient weight is not a function of δ and the sign of Â alone ({described})"


def curve(loss: Loss, params: Any, old_prob: float) -> Curve:
    """w for single-token responses with this π_old.

    Raises:
        UserError: as :func:`curves`.
    """
    grid = np.linspace(-LIMIT, LIMIT, POINTS)
    grid = grid[np.exp(grid) * old_prob <= 1.0]
    try:
        positive, negative = (_weights(loss, params, grid, old_prob, sign) for sign in (1.0, -1.0))
    except ImportError as error:
        hint = "install torch (make setup), or leave the curve out"
        raise UserError("the curve is computed by the loss itself, which needs torch", hint=hint) from error
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(
            f"the weight of {loss.title} fails: {type(error).__name__}: {error}",
            hint="mend weight(tokens, params); `cegppo check-loss` shows the smallest input that fails",
        ) from error
    return Curve(old_prob, grid, positive, negative)


def _weights(loss: Loss, params: Any, grid: np.ndarray, old_prob: float, advantage: float) -> np.ndarray:
    import torch

    from cegppo_verl.losses import weighted

    log_ratio = torch.from_numpy(grid.copy())[:, None]  # (points, 1): a response of one token each
    old = torch.full_like(log_ratio, float(np.log(old_prob)))
    ones, entropy = torch.ones_like(log_ratio), torch.full_like(log_ratio, ENTROPY)
    with torch.no_grad():
        blocks = weighted.blocks(old, old + log_ratio, ones * advantage, ones.bool(), entropy, entropy)
        parts = [loss.bound(params)(tokens) for tokens in blocks]
    # With Â = ±1, w·Â·Â = w; multiplying would only hide a wrong shape.
    whole = torch.cat(parts).double()
    if whole.shape != log_ratio.shape:
        raise ValueError(f"it returns shape {tuple(whole.shape)} for {tuple(log_ratio.shape)}")
    return np.asarray(whole[:, 0].tolist())


def _differs(main: Curve, other: Curve) -> bool:
    """Whether π_old matters, where both have a value."""
    shared = len(other.log_ratio)
    pairs = ((main.positive, other.positive), (main.negative, other.negative))
    # Rounding of log π_old moves δ by an ulp, and a jump by a point at most.
    return any(np.sum(~np.isclose(a[:shared], b, rtol=1e-9, atol=1e-12)) > 2 for a, b in pairs)


def ppo_clip() -> Curve:
    """What every loss is compared with: PPO-clip with ε = 0.2 and no dual clip (arXiv 1707.06347, Eq. 7)."""
    grid = np.linspace(-LIMIT, LIMIT, POINTS)
    ratio = np.exp(grid)
    return Curve(REFERENCE_PROB, grid, np.where(ratio > 1.2, 0.0, ratio), np.where(ratio < 0.8, 0.0, ratio))

"""What the controllers that hold entropy at a target have in common."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from cegppo_verl.losses.parameters import param


def measured(entropy: float | None) -> TypeGuard[float]:
    """Whether a measured entropy can be acted upon: a number, finite, not negative (token entropies are ≥ 0).

    Where it cannot, a controller keeps its values and remembers nothing of that step but that it held.
    """
    return entropy is not None and math.isfinite(entropy) and entropy >= 0.0


def target(*, source: str, **about: Any) -> Any:
    """The parameter H*: the entropy to hold, nats per token, measured as an ``Observation`` says."""
    return param(
        "H*",
        "entropy of the policy to hold",
        low=0.0,
        open_low=True,
        unit="nats per token",
        source=source,
        why=lambda _: "an entropy per token, e.g. 0.3 nats; it must be above 0",
        **about,
    )

"""Where a method, or verl's own code for it, is known to fail a check: the table shows it with the reason.

The test suite runs these checks too and fails when one of them passes, so that no line outlives its reason.
"""

from __future__ import annotations

from collections.abc import Mapping

PRECISION = {"bf16": "verl's own code computes in the precision of its inputs; verl passes float32"}
PADDING = {
    "padding of NaN and ∞": "verl's own code lets a NaN of the padding through; verl pads with numbers"
}
LOG_PROB = {"log π = −∞": "the surrogate has a factor log π and is infinite with it"}
OVERFLOW = {
    "extremes are finite": "verl's own code does not clamp the log-ratio, and float32 overflows at 89"
}
UNCLAMPED = {"log π = −∞": "verl's own code does not clamp the log-ratio"}
SELECTION = "verl's own code selects tokens within each micro-batch"
COVARIANCE = {"micro-batches": SELECTION, "data-parallel ranks": SELECTION}

VERL: Mapping[str, Mapping[str, str]] = {
    "vanilla": PADDING
    | PRECISION
    | {"bounds are inside": "verl's own code takes a maximum at δ = c; torch halves the gradient of a tie"},
    "gspo": PADDING
    | PRECISION
    | {"log π = −∞": "verl's own code keeps log π as a summand, and ∞ − ∞ is NaN"},
    "sapo": PADDING | PRECISION,
    "gpg": PADDING | LOG_PROB,
    "cispo": PADDING | PRECISION | LOG_PROB,
    "dppo_tv": PADDING | PRECISION | LOG_PROB,
    "dppo_kl": PADDING | PRECISION | LOG_PROB,
    "geo_mean": PADDING
    | OVERFLOW
    | {
        "no tokens": "verl's own code averages over the rows of the micro-batch, and there are none",
        "rollout weights": "verl's own code multiplies a sequence by the geometric mean of its weights",
    },
    "clip_cov": PADDING
    | PRECISION
    | OVERFLOW
    | COVARIANCE
    | {"linear in Â": "which tokens are clipped depends on the size of Â: covariances within fixed bounds"},
    "kl_cov": PADDING
    | PRECISION
    | OVERFLOW
    | UNCLAMPED
    | COVARIANCE
    | {"linear in Â": "the penalty on the selected tokens does not grow with Â"},
    "dro": PADDING
    | PRECISION
    | UNCLAMPED
    | {"linear in Â": "the quadratic penalty on log δ does not grow with Â"},
}
"""By the name of verl's policy loss."""

OURS: Mapping[str, Mapping[str, str]] = {
    "cegppo_released": {
        "log π = −∞": "the log-likelihood term on correct responses is infinite there",
        "weight = slope of value": "the value has sg(δ) in it, which differences do not hold fixed",
    },
    "maspo": {"linear in Â": "the size of Â sets the width of the gate"},
}
"""By the name in losses/registry.py."""

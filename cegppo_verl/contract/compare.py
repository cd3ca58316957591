"""Small helpers that the checks share: relative errors, and the weights that a gradient implies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cegppo_verl.contract.batch import Batch, coefficients
from cegppo_verl.contract.subjects import Subject


def largest(numbers: Iterable[float]) -> float:
    """The largest number, 0 of none, NaN if any is: ``max([0.0, nan])`` is 0.0."""
    numbers = list(numbers)
    return math.nan if any(map(math.isnan, numbers)) else max(numbers, default=0.0)


def relative(found: Tensor, expected: Tensor, scale: float | None = None) -> float:
    """The largest |found − expected| / (|expected| + 1e-9·scale); NaN if only one has a NaN.

    Args:
        scale: what counts as large; the largest |expected| if not given. Equal infinities differ by nothing.
    """
    if found.numel() == 0:
        return 0.0
    found, expected = found.double(), expected.double()
    largest = expected.abs().max().item() if scale is None else scale
    error = (found - expected).abs() / (expected.abs() + 1e-9 * largest + 1e-300)
    return torch.where(found == expected, torch.zeros_like(error), error).max().item()


def weights(subject: Subject, batch: Batch, values: Mapping[str, Any]) -> Tensor:
    """The weights w that the gradient implies, −∂loss/∂log π / (Â · the reduction's factor)."""
    gradient = subject.run(batch, values).gradient
    return -gradient / (batch.advantages * coefficients(subject.mode, batch.mask, batch.info)).to(
        gradient.dtype
    )


def bare(subject: Subject) -> Subject:
    """The subject without its auxiliary term, which is no function of the ratio."""
    if subject.loss is None or subject.loss.auxiliary is None:
        return subject
    return replace(subject, loss=replace(subject.loss, auxiliary=None))

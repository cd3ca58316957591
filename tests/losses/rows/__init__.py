"""One file per loss: its surrogate written out as the paper prints it, and weights worked by hand.

``rows.load(name)`` is the row of the loss ``name``. Nothing in a row may import the formula it is to test.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Row:
    """What the contract compares a loss with.

    Args:
        literal: the surrogate ℓ (to be maximised) as printed, with ``detach`` where the paper has sg(·), an
            ordinary autograd expression: ``literal(log_prob, old_log_prob, advantages, mask, **parameters)``,
            tensors (batch, response_length), float64; with ``entropy=, old_entropy=`` too for a loss that
            needs them. Returns (batch, response_length). Its gradient divided by Â is the weight, wherever
            |log δ| < 20.
        parameters: complete parameter settings to test with, the paper's first; at least one in which no two
            numbers are equal, so that none can be swapped unnoticed.
        worked: by hand from the paper: (δ, Â, w, parameters), each a response of one token. With ``old_prob``
            1 unless the parameters' entry holds "old_prob".
        limits: (parameters, name, w): settings for which the loss is another, known one, whose weight for
            single-token responses is ``w(ratio, advantages)``.
    """

    literal: Callable[..., Tensor] | None
    parameters: tuple[dict[str, Any], ...]
    worked: tuple[tuple[float, float, float, dict[str, Any]], ...]
    limits: tuple[tuple[dict[str, Any], str, Callable[[Tensor, Tensor], Tensor]], ...] = field(default=())


def load(name: str) -> Row:
    """The row of the loss ``name``."""
    return importlib.import_module(f"losses.rows.{name}").ROW

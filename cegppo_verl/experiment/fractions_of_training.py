"""Schedules whose steps are shares of the training: ``{0%: 0.0, 58.5%: 0.5}``.

A schedule in whole steps means something else at a scale that trains for fewer of them. "p%" is the first
step s with s / total_steps ≥ p / 100, so that 58.5 % of 1000 steps is step 585; 0% is step 1. The cell, and
so its identity, holds the resolved steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.places import problem
from cegppo_verl.experiment.yaml_file import Document, KeyPath

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)\s*%")
_HINT = "write shares from 0% to 100%, e.g. {0%: 0.0, 50%: 0.5}"


def has_shares(value: object) -> bool:
    """Whether a parameter's value is a schedule with a step in per cent."""
    return isinstance(value, Mapping) and any(str(step).rstrip().endswith("%") for step in value)


def in_steps(
    table: Mapping[Any, Any], total_steps: int, document: Document | None, path: KeyPath
) -> dict[str, Any]:
    """The schedule with every share replaced by its step; ``path`` is the parameter's.

    Raises:
        UserError: not a share, or two entries that come to the same step.
    """
    resolved: dict[str, Any] = {}
    origin: dict[str, Any] = {}
    for written, value in table.items():
        step = _step(str(written), total_steps, document, path)
        if step in resolved:
            message = f"'{origin[step]}' and '{written}' are both step {step} of {total_steps}"
            hint = "remove one of the two, or move them apart"
            raise problem(message, document, path, hint)
        resolved[step], origin[step] = value, written
    return resolved


def _step(written: str, total_steps: int, document: Document | None, path: KeyPath) -> str:
    if not written.rstrip().endswith("%"):
        return written
    match = _SHARE.fullmatch(written.strip())
    share = Fraction(match[1]) if match else Fraction(101)
    if share > 100:
        raise _bad(written, document, path)
    return str(max(1, ceil(share * total_steps / 100)))


def _bad(written: str, document: Document | None, path: KeyPath) -> UserError:
    return problem(f"'{written}' is not a share of the training", document, path, _HINT)

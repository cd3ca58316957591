"""The test suite's rows (literal surrogate, hand-worked weights, limits), where there is a checkout."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from cegppo_verl.contract.exceptions import OURS, VERL
from cegppo_verl.contract.subjects import Expected
from cegppo_verl.losses.loss import Loss

TESTS = Path(__file__).parents[2] / "tests"


def find(name: str) -> Any | None:
    """The row of a loss of the registry, or None outside of a checkout and where there is none."""
    if not (TESTS / "losses" / "rows" / f"{name}.py").is_file():
        return None
    sys.path.insert(0, str(TESTS))
    try:
        return importlib.import_module("losses.rows").load(name)
    finally:
        sys.path.remove(str(TESTS))


def expected(row: Any, name: str, loss: Loss) -> Expected:
    """What a row states, and the known exceptions."""
    known = {**VERL.get(loss.runs or "", {}), **OURS.get(name, {})}
    if row is None:
        return Expected(exceptions=known, own=True)
    source = f"tests/losses/rows/{name}.py"
    return Expected(row.literal, row.worked, row.limits, known, own=True, source=source)

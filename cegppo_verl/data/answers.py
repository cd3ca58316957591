"""The final answer out of a row's answer column; each rule is named in the catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from cegppo_verl.evaluation.extract import last_boxed


def text(value: Any) -> str | None:
    """The column as it is; a whole number that was stored as a float is written as an integer."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).strip() or None
    return None


def hashes(value: Any) -> str | None:
    """What follows the last ``####``, without thousands separators (GSM8K)."""
    _, mark, answer = str(value or "").rpartition("####")
    return (answer.strip().replace(",", "") or None) if mark else None


def boxed(value: Any) -> str | None:
    """The content of the last ``\\boxed{…}`` of a worked solution (MATH)."""
    answer = last_boxed(str(value or ""))
    return answer.strip() or None if answer else None


def all_of(value: Any) -> str | None:
    """A list of answers that are all wanted, joined by commas (OlympiadBench); mostly there is one."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return text(value)
    parts = [text(item) for item in value]
    return ", ".join(str(part) for part in parts) if parts and all(parts) else None


RULES: dict[str, Callable[[Any], str | None]] = {
    "text": text,
    "hashes": hashes,
    "boxed": boxed,
    "all_of": all_of,
}

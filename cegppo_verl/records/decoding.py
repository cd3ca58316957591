"""How an evaluation sampled, as a short hash: scores with different hashes are different measurements."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SETTINGS = ("temperature", "top_p", "top_k", "response_length", "engine")
"""temperature (0 is greedy), top_p, top_k (counts; −1 is all), response_length (tokens), engine (a name)."""


def decoding_hash(settings: Mapping[str, Any]) -> str:
    """First 12 hex digits of SHA-256 over those of ``SETTINGS`` that are known; empty when none is."""
    known = {name: settings[name] for name in SETTINGS if settings.get(name) is not None}
    if not known:
        return ""
    numbers = {name: float(v) if isinstance(v, int | float) else str(v) for name, v in known.items()}
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:12]


def of_cell(cell: Mapping[str, Any]) -> str:
    """That of a cell's validation passes (``settings`` of ``cell.json``); empty when it does not say."""
    settings = cell.get("settings")
    if not isinstance(settings, Mapping) or not isinstance(settings.get("eval"), Mapping):
        return ""
    stated = {**settings["eval"], "response_length": settings.get("max_response_length")}
    return decoding_hash({name: v for name, v in stated.items() if isinstance(v, int | float | str)})

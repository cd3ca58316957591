"""Write values in Hydra's override grammar so that they come back unchanged, whatever is in them."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Text that Hydra's grammar reads back as the same text: no quotes needed, so command lines stay readable.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.+-]*")
_READ_AS_SOMETHING_ELSE = {"true", "false", "null", "nan", "inf"}


def hydra_value(value: object) -> str:
    """``value`` as the right-hand side of an override.

    Args:
        value: None, bool, int, float, str, list, tuple or mapping, nested at will.

    Raises:
        TypeError: anything else.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(hydra_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_value(item)}" for key, item in value.items()) + "}"
    raise TypeError(f"no Hydra form for {type(value).__name__}")


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _READ_AS_SOMETHING_ELSE:
        return value
    # Hydra unescapes \' and, before a quote or at the end, \\; elsewhere a backslash stands for itself.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"


def override(key: str, value: object) -> str:
    """``key=value``; a ``+`` in front of the key appends it to the configuration."""
    return f"{key}={hydra_value(value)}"

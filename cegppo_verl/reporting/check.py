"""Whether a report on disk is what its records give: number for number, figures by what they draw.

Text is compared word for word and number for number, with a relative tolerance: another processor may round
the last digit differently. Pixels and curves' coordinates depend on matplotlib's version and are not
compared; what a figure draws is (``drawn`` in its sidecar). That a file is the one that its sidecar is about
is compared by hash, so that no figure or table can be exchanged or edited by hand.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cegppo_verl.records.derived import sha256

TOLERANCE = 1e-6
PICTURES = (".svg", ".png", ".pdf")
MADE_ANEW = ("sha256", "made_with")  # of a sidecar: follow from the versions at hand
_NUMBER = re.compile(rb"\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_INLINE = re.compile(rb"<svg.*?</svg>", re.DOTALL)


def differences(folder: Path, expected: Mapping[str, bytes]) -> list[str]:
    """What on disk does not follow, a line each; empty when everything does.

    Args:
        expected: files by name, as ``build_report`` makes them, sidecars included.
    """
    found = [line for name, content in expected.items() for line in _file(folder, name, content)]
    strays = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return found + [f"{name}: no part of the report (any more)" for name in strays if name not in expected]


def _file(folder: Path, name: str, expected: bytes) -> list[str]:
    try:
        actual = (folder / name).read_bytes()
    except OSError:
        return [f"{name}: missing"]
    if actual == expected:
        return []
    if name.endswith(".json"):
        return [f"{name}: {line}" for line in _sidecar(actual, expected)]
    if name.endswith(PICTURES):
        return _picture(folder / name, actual)
    told = _text(actual, expected)
    return [f"{name}: {told}"] if told else []


def _picture(path: Path, actual: bytes) -> list[str]:
    """Whether it is the one that its sidecar is about; what that one draws is compared there."""
    try:
        stated = json.loads(path.with_name(f"{path.name}.json").read_bytes()).get("sha256")
    except (OSError, ValueError, AttributeError):
        return []  # said of the sidecar
    return [] if stated == sha256(actual) else [f"{path.name}: is not the file that its sidecar is about"]


def _text(actual: bytes, expected: bytes) -> str:
    """The first difference in words."""
    pairs = zip_longest(_INLINE.sub(b"", actual).split(b"\n"), _INLINE.sub(b"", expected).split(b"\n"))
    for number, (own, new) in enumerate(pairs, 1):
        if own is None or new is None or not _same_line(own, new):
            shown = (_shown(own, new), _shown(new, own))
            return f"line {number} reads {shown[0]}, the records give {shown[1]}"
    return ""


def _same_line(own: bytes, new: bytes) -> bool:
    if own == new:
        return True
    numbers = [[float(n) for n in _NUMBER.findall(line)] for line in (own, new)]
    if _NUMBER.sub(b"0", own) != _NUMBER.sub(b"0", new):
        return False
    return all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12) for a, b in zip(*numbers, strict=True))


def _shown(line: bytes | None, other: bytes | None, width: int = 60) -> str:
    """The place where two lines part."""
    if line is None:
        return "nothing"
    start = next((i for i, (a, b) in enumerate(zip(line, other or b"", strict=False)) if a != b), 0)
    return repr(line[max(0, start - 15) : start + width].decode("utf-8", "replace"))


def _sidecar(actual: bytes, expected: bytes) -> list[str]:
    try:
        own = json.loads(actual)
    except ValueError:
        return ["is not JSON"]
    if not isinstance(own, dict):
        return ["is no sidecar"]
    new = json.loads(expected)
    keys = [key for key in {**new, **own} if key not in MADE_ANEW and not _same(own.get(key), new.get(key))]
    return [_told(key, own.get(key), new.get(key)) for key in keys]


def _same(own: Any, new: Any) -> bool:
    if isinstance(own, float | int) and isinstance(new, float | int):
        return math.isclose(own, new, rel_tol=TOLERANCE, abs_tol=1e-12)
    if isinstance(own, dict) and isinstance(new, dict):
        return own.keys() == new.keys() and all(_same(own[key], new[key]) for key in own)
    if isinstance(own, list) and isinstance(new, list):
        return len(own) == len(new) and all(map(_same, own, new))
    return bool(own == new)


def _told(key: str, own: Any, new: Any) -> str:
    """Cells by the run and record that changed, others by name."""
    if key != "cells" or not isinstance(own, list):
        return f"{key} differs"
    before = {cell.get("run"): cell for cell in own if isinstance(cell, dict)}
    after = {cell["run"]: cell for cell in new}
    changed = [run for run in {**before, **after} if before.get(run) != after.get(run)]
    return "records changed: " + "; ".join(_run(run, before.get(run), after.get(run)) for run in changed)


def _run(run: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    if before is None or after is None:
        return f"{run} is {'new' if before is None else 'gone'}"
    old, new = before.get("records", {}), after.get("records", {})
    files = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    keys = [key for key in {**before, **after} if key != "records" and before.get(key) != after.get(key)]
    return f"{run} ({', '.join([*files, *keys])})"

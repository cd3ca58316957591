"""The contract's results as JSON: for scripts, and for the index of the losses (``reports/losses``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cegppo_verl.contract.outcome import Measured, Report, Result
from cegppo_verl.contract.subjects import Subject
from cegppo_verl.errors import UserError
from cegppo_verl.records import atomic


def of(report: Report, subject: Subject) -> dict[str, Any]:
    """One loss: what was tried, and every check with its number, its bound and its reason.

    Numbers have two digits, as in the table: the others differ from machine to machine.
    """
    return {
        "version": None if subject.loss is None else subject.loss.version,
        "form": report.form,
        "settings": [dict(setting) for setting in subject.settings],
        "passed": report.passed,
        "checks": {result.name: _check(result) for result in report.results},
    }


def whole(found: Mapping[str, dict[str, Any]], command: str) -> dict[str, Any]:
    """What is printed and written: the command, and :func:`of` by the name of the loss."""
    return {"command": command, "losses": dict(found)}


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write :func:`whole` to ``path``.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, content)
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror}", file=path, key="--out", hint="choose another place"
        ) from error


def _check(result: Result) -> dict[str, Any]:
    found = {"status": result.status, "note": result.note} | _numbers(result.measured)
    if result.measured is not None and not result.measured.passed:
        found["example"] = result.measured.example
    return {key: value for key, value in found.items() if value != ""}


def _numbers(measured: Measured | None) -> dict[str, Any]:
    if measured is None:
        return {}
    numbers = {"measured": _number(measured.value), "bound": _number(measured.bound)}
    return numbers | {"what": measured.what}


def _number(value: float) -> float | str:
    """Two digits; JSON has no infinity and no NaN, so they are words."""
    return float(f"{value:.2g}") if math.isfinite(value) else str(value)

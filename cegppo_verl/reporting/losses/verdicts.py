"""The contract's results as the index shows them, from the file that ``cegppo check-loss --all`` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.errors import UserError

FILE = "contract.json"
COMMAND = f"cegppo check-loss --all --out reports/losses/{FILE}"
UNCHECKED = "not run"
EXCUSED = "EXCUSED (fails)"  # contract/outcome.py's word; this room reads the file and imports no torch


@dataclass(frozen=True)
class Verdict:
    """One loss's results.

    Attributes:
        version: the loss's version that was checked. passed, not_applicable, failed: how many checks.
        excused: for every check that fails, the stated reason.
    """

    version: str | None
    passed: int
    not_applicable: int
    failed: tuple[str, ...]
    excused: Mapping[str, str]

    def shown(self, version: str) -> str:
        """The result in words, for the loss as it is now."""
        if version != self.version:
            return f"not run with version {version}"
        parts = [f"FAILED: {', '.join(self.failed)}"] if self.failed else []
        parts += [f"{self.passed} passed"]
        parts += [f"{self.not_applicable} not applicable"] if self.not_applicable else []
        parts += [f"fails {check} ({reason})" for check, reason in self.excused.items()]
        return "; ".join(parts)


def read(file: Path) -> dict[str, Verdict]:
    """Verdicts by loss; empty where there is no file.

    Raises:
        UserError: the file is there and is not what check-loss writes.
    """
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["losses"]
        return {name: _verdict(entry) for name, entry in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("this is not what check-loss writes", file=file, hint=f"run `{COMMAND}`") from error


def _verdict(entry: Mapping[str, object]) -> Verdict:
    checks = entry["checks"]
    assert isinstance(checks, Mapping)
    by_status = {status: [n for n, c in checks.items() if c["status"] == status] for status in STATUSES}
    if sum(map(len, by_status.values())) != len(checks):
        raise ValueError("an unknown status")
    return Verdict(
        version=str(entry["version"]),
        passed=len(by_status["passed"]),
        not_applicable=len(by_status["not applicable"]),
        failed=tuple(by_status["FAILED"]),
        excused={name: checks[name]["note"] for name in by_status[EXCUSED]},
    )


STATUSES = ("passed", "not applicable", "FAILED", EXCUSED)

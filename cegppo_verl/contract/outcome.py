"""What a check says: a measured number and its bound, or why it does not apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["passed", "FAILED", "EXCUSED (fails)", "not applicable"]
EXCUSED: Status = "EXCUSED (fails)"


class NotApplicableError(Exception):
    """The check has no meaning for this loss; the text says why."""


@dataclass(frozen=True)
class Measured:
    """What one check found.

    Args:
        value: the number found, dimensionless unless ``what`` says otherwise; NaN never passes.
        bound: the largest value that passes.
        what: what the number is, e.g. "largest relative error".
        example: for a failure, the smallest input that shows it, as text that can be pasted into Python.
    """

    value: float
    bound: float
    what: str
    example: str = ""

    @property
    def passed(self) -> bool:
        """Whether the number is within the bound."""
        return self.value <= self.bound


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Args:
        name: the check's. status: passed, FAILED, EXCUSED (fails) or not applicable.
        note: why it does not apply or is excused, or what was raised.
        measured: absent where nothing was measured.
    """

    name: str
    status: Status
    note: str = ""
    measured: Measured | None = None


@dataclass(frozen=True)
class Report:
    """All results for one loss.

    Args:
        loss: its name. form: which of the three it was recognised as. results: in the order of the checks.
        own: the exceptions are those of contract/exceptions.py, not of the loss's own file.
    """

    loss: str
    form: str
    results: tuple[Result, ...]
    own: bool = False

    @property
    def failures(self) -> tuple[Result, ...]:
        """The failed checks."""
        return tuple(r for r in self.results if r.status == "FAILED")

    @property
    def excused(self) -> tuple[Result, ...]:
        """The checks that fail and are excused."""
        return tuple(r for r in self.results if r.status == EXCUSED)

    @property
    def passed(self) -> bool:
        """Whether no check failed; a loss cannot excuse itself."""
        return self.accepted()

    def accepted(self, *, allow_exceptions: bool = False) -> bool:
        """Whether no check failed, with the exceptions of the loss's own file allowed or not."""
        return not self.failures and (self.own or allow_exceptions or not self.excused)

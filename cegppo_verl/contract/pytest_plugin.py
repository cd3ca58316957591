"""The pytest fixture ``loss_contract``: ``def test_mine(loss_contract): loss_contract("my_loss.py")``.

pytest loads this wherever the package is installed, so nothing heavy is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cegppo_verl.contract.outcome import Report

LossContract = Callable[..., "Report"]


@pytest.fixture
def loss_contract() -> LossContract:
    """Check a loss: ``loss_contract(loss, **parameters)`` fails the test with the table of what failed.

    ``loss`` is what ``cegppo check-loss`` takes, or a Loss or a function itself; returns the report.
    ``allow_exceptions=True`` accepts failures that the loss's module excuses in CONTRACT_EXCEPTIONS.
    """
    return _check


def _check(loss: Any, *, allow_exceptions: bool = False, **parameters: Any) -> Report:
    __tracebackhide__ = True
    from cegppo_verl.contract import resolve, runner, table

    subject = resolve.subject(loss, parameters) if isinstance(loss, str) else _from_object(loss, parameters)
    report = runner.check(subject)
    if not report.accepted(allow_exceptions=allow_exceptions):
        found = "\n".join(map(table.explained, (*report.failures, *report.excused)))
        pytest.fail(f"{report.loss} ({report.form}): {table.summary(report)}\n{found}", pytrace=False)
    return report


def _from_object(loss: Any, parameters: dict[str, Any]) -> Any:
    import inspect

    from cegppo_verl.contract import resolve

    name = getattr(loss, "__name__", None) or getattr(loss, "title", None) or type(loss).__name__
    module = inspect.getmodule(loss) if callable(loss) else None
    return resolve.from_object(loss, name, parameters, module)

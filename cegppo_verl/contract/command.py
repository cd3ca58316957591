"""``cegppo check-loss``: from what was typed to a table and an exit code. Imports torch only when called."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

from rich.console import Console

from cegppo_verl.errors import UserError

NEEDED = {"torch": "pip install torch", "hypothesis": "pip install hypothesis"}

EXCUSES = "exit code 1: the loss's file excuses its own failures; --allow-exceptions accepts that"


def check_loss(
    target: str, params: Iterable[str], console: Console, *, allow_exceptions: bool = False
) -> int:
    """Run the contract on a loss and print the table.

    Args:
        target: name, ``file.py[:function]`` or ``package.module[:function]``. params: "name=value" each.
        allow_exceptions: failures that the loss's own file excuses are no reason for exit code 1.

    Returns:
        The exit code: 0 if nothing failed or only what contract/exceptions.py excuses, otherwise 1.

    Raises:
        UserError: no such loss, hyper-parameters missing, unknown or bad, a package missing, or an
            exception for a check that does not exist.
    """
    _installed()
    from cegppo_verl.contract import resolve, runner, table

    subject = resolve.subject(target, dict(map(_pair, params)))
    report = runner.check(subject)
    table.show(report, subject, console)
    accepted = report.accepted(allow_exceptions=allow_exceptions)
    if not accepted and not report.failures:
        console.print(EXCUSES, soft_wrap=True)
    return 0 if accepted else 1


def _installed() -> None:
    for package, fix in NEEDED.items():
        if importlib.util.find_spec(package) is None:
            raise UserError(f"checking a loss needs {package}, which is not installed", hint=fix)


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UserError(f"--param takes name=value, got '{text}'", hint="e.g. --param beta1=0.5")
    return name, _value(value)


def _value(text: str) -> Any:
    """A number, None, true or false, or a word."""
    words = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return float(text)
    except ValueError:
        return text

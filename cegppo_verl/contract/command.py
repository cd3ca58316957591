"""``cegppo check-loss``: from what was typed to a table and an exit code. Imports torch only when called."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from cegppo_verl.errors import UserError

if TYPE_CHECKING:
    from cegppo_verl.contract.outcome import Report
    from cegppo_verl.contract.subjects import Subject

    Show = Callable[[Report, Subject, Console], None]

NEEDED = {"torch": "pip install torch", "hypothesis": "pip install hypothesis"}

EXCUSES = "exit code 1: the loss's file excuses its own failures; --allow-exceptions accepts that"


def check_loss(
    target: str | None,
    params: Iterable[str],
    console: Console,
    *,
    allow_exceptions: bool = False,
    every: bool = False,
    as_json: bool = False,
    out: Path | None = None,
) -> int:
    """Run the contract on a loss, or on all, and print the table.

    Args:
        target: name, ``file.py[:function]`` or ``package.module[:function]``. params: "name=value" each.
        allow_exceptions: failures that the loss's own file excuses are no reason for exit code 1.
        every: all losses of the registry, with the parameters of the test suite's rows; no target, no params.
        as_json: one JSON object in place of the table. out: a file for that object.

    Returns:
        The exit code: 0 if nothing failed or only what contract/exceptions.py excuses, otherwise 1.

    Raises:
        UserError: no such loss, hyper-parameters missing, unknown or bad, a package missing, an exception
            for a check that does not exist, a combination without meaning, or ``out`` is not writable.
    """
    given = dict(map(_pair, params))
    _check_combination(target, given, every)
    _installed()
    from cegppo_verl.contract import record, resolve

    subjects = resolve.everything() if every else [resolve.subject(str(target), given)]
    show = None if as_json else (_line if every else _table)
    reports = [_checked(subject, console, show) for subject in subjects]
    found = {s.name: record.of(r, s) for s, r in zip(subjects, reports, strict=True)}
    content = record.whole(found, _typed(target, given, every))
    if as_json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    if out is not None:
        record.write(out, content)
    accepted = all(report.accepted(allow_exceptions=allow_exceptions) for report in reports)
    if not accepted and not any(report.failures for report in reports):
        print(EXCUSES, file=sys.stderr)
    return 0 if accepted else 1


def _check_combination(target: str | None, given: dict[str, Any], every: bool) -> None:
    if every and (target is not None or given):
        hint = "leave the loss and --param out: each has the parameters of its row in tests/losses/rows"
        raise UserError("all losses are checked", key="--all", hint=hint)
    if not every and target is None:
        raise UserError("which loss?", hint="cegppo check-loss NAME, or --all; the list: cegppo losses")


def _typed(target: str | None, given: dict[str, Any], every: bool) -> str:
    words = ["--all"] if every else [str(target), *(f"--param {k}={v}" for k, v in given.items())]
    return " ".join(["cegppo check-loss", *words])


def _checked(subject: Subject, console: Console, show: Show | None) -> Report:
    from cegppo_verl.contract import runner

    report = runner.check(subject)
    if show is not None:
        show(report, subject, console)
    return report


def _table(report: Report, subject: Subject, console: Console) -> None:
    from cegppo_verl.contract import table

    table.show(report, subject, console)


def _line(report: Report, subject: Subject, console: Console) -> None:
    """One line, and the inputs of what failed."""
    from cegppo_verl.contract import table

    console.print(Text(f"{report.loss}: {table.summary(report)}"), soft_wrap=True)
    for result in report.failures:
        console.print(Text(table.explained(result)), soft_wrap=True)


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

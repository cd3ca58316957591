"""``cegppo doctor``: is this machine ready to train, and if not, what to do.

Importing this module imports neither torch nor Ray nor verl; what needs them is asked in a subprocess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from cegppo_verl.errors import EXIT_USER_ERROR
from cegppo_verl.launch import locks
from cegppo_verl.launch.environment_checks import (
    accelerators,
    leftovers,
    machine,
    plugin,
    ray_state,
    versions,
)
from cegppo_verl.launch.environment_checks.finding import Context, Finding

Check = Callable[[Context], list[Finding]]
CHECKS: tuple[Check, ...] = (
    versions.python_version,
    versions.stack,
    versions.locked_versions,
    versions.extra_packages,
    versions.forbidden_packages,
    versions.torch_build,
    machine.cpus,
    machine.memory,
    machine.disk,
    machine.shared_memory,
    ray_state.ports,
    ray_state.running_ray,
    accelerators.gpus,
    accelerators.model_hub,
    leftovers.shared_memory_segments,
    leftovers.ray_sessions,
    leftovers.weight_sockets,
    plugin.in_driver,
)
SLOW_CHECKS: tuple[Check, ...] = (plugin.in_ray_worker,)
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def run_checks(
    quick: bool = False,
    lock: Path | None = None,
    folder: Path | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Finding]:
    """Run every check and return what each found, in order.

    Args:
        quick: leave out what starts Ray (half a minute).
        lock: lock file to compare with; None takes the checkout's own for the installed stack.
        folder: where runs will be written; None is the working directory.
        progress: called with the name of each check before it runs.

    Raises:
        UserError: ``lock`` cannot be read.
    """
    context = read_context(lock, folder or Path.cwd())
    checks = CHECKS if quick else CHECKS + SLOW_CHECKS
    findings: list[Finding] = []
    for check in checks:
        progress(check.__name__.replace("_", " "))
        findings += _guarded(check, context)
    return findings


def read_context(lock: Path | None, folder: Path) -> Context:
    """What the checks share.

    Raises:
        UserError: ``lock`` cannot be read.
    """
    installed = locks.installed_packages()
    stack = locks.installed_stack(installed)
    path = lock or (locks.find_lock(stack) if stack else None)
    return Context(installed, stack, path, locks.read_lock(path) if path else {}, folder)


def _guarded(check: Check, context: Context) -> list[Finding]:
    """A check that breaks is a finding, not the end of the others."""
    try:
        return check(context)
    except Exception as error:
        name = check.__name__.replace("_", " ")
        fix = "report this: a check of `cegppo doctor` broke"
        return [Finding("fail", name, f"could not be checked: {type(error).__name__}: {error}", fix)]


def exit_code(findings: Iterable[Finding]) -> int:
    """2 when anything fails, else 0: warnings do not stop a script."""
    return EXIT_USER_ERROR if any(finding.level == "fail" for finding in findings) else 0


def render(findings: Sequence[Finding]) -> Table:
    """One row per finding; the fix stands under the message. Print ``summary`` after it."""
    table = Table()
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for finding in findings:
        message = Text(finding.message)
        if finding.fix:
            message.append(f"\nfix: {finding.fix}", style="italic")
        table.add_row(Text(finding.level, style=STYLES[finding.level]), Text(finding.name), message)
    return table


def summary(findings: Sequence[Finding]) -> str:
    """E.g. ``16 ok, 1 warning, 0 failures``."""
    counts = {level: sum(finding.level == level for finding in findings) for level in STYLES}
    warnings = "warning" if counts["warn"] == 1 else "warnings"
    failures = "failure" if counts["fail"] == 1 else "failures"
    return f"{counts['ok']} ok, {counts['warn']} {warnings}, {counts['fail']} {failures}"

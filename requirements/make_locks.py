"""Write requirements/cpu.lock and gpu.lock from pyproject.toml; reads metadata only, installs nothing.

Run by `make lock` (keeps every version that still fits) or `make lock UPGRADE=1` (newest that fit).
A lock holds `name==version` lines only: no addresses, no hashes, no local versions such as "+cpu".
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLATFORM = "x86_64-unknown-linux-gnu"
PYTHONS = {"cpu": ("3.11", "3.12"), "gpu": ("3.12",)}


def compile_lock(stack: str, python: str, upgrade: bool) -> list[str]:
    """Resolve one stack for one Python version with `uv pip compile`.

    Raises:
        subprocess.CalledProcessError: no set of versions fits, or the index cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock"
        previous = HERE / f"{stack}.lock"
        if previous.exists() and not upgrade:
            shutil.copy(previous, output)  # uv prefers the versions it finds in its output file
        subprocess.run([*_command(stack, python), "-o", str(output)], check=True, cwd=HERE.parent)
        return pins(output.read_text())


def _command(stack: str, python: str) -> list[str]:
    command = ["uv", "pip", "compile", "pyproject.toml", "requirements/tools.in"]
    command += ["--extra", stack, "--extra", "test", "--config-file", "requirements/uv.toml"]
    command += ["--python-version", python, "--python-platform", PLATFORM]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--system-certs", "--quiet"]
    for kind in ("overrides", "excludes"):
        if (HERE / f"{stack}-{kind}.txt").exists():
            command += [f"--{kind}", f"requirements/{stack}-{kind}.txt"]
    return command


def pins(text: str) -> list[str]:
    """The `name==version` lines of a resolver's output, sorted by name, without comments and markers."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;+]+)", text, flags=re.MULTILINE)
    return [f"{name}=={version}" for name, version in sorted(found)]


def write_lock(stack: str, upgrade: bool) -> None:
    """Resolve for every supported Python and write the lock.

    Raises:
        SystemExit: the Python versions need different sets, which one file cannot hold.
    """
    results = {python: compile_lock(stack, python, upgrade) for python in PYTHONS[stack]}
    first, *others = results.values()
    for other in others:
        if other != first:
            raise SystemExit(f"{stack}: differs between Pythons: {sorted(set(first) ^ set(other))}")
    (HERE / f"{stack}.lock").write_text("\n".join(first) + "\n")
    print(f"requirements/{stack}.lock: {len(first)} packages for Python {', '.join(results)}")


def main() -> None:
    """Parse the command line and write the locks asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack", nargs="?", choices=list(PYTHONS), help="default: both")
    parser.add_argument("--upgrade", action="store_true", help="do not keep the present versions")
    options = parser.parse_args()
    if shutil.which("uv") is None:
        sys.exit("uv is missing: run `make lock`, which installs it in .venv-lock")
    for stack in [options.stack] if options.stack else PYTHONS:
        write_lock(stack, options.upgrade)


if __name__ == "__main__":
    main()

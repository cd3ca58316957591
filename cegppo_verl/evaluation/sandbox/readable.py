"""What a candidate may read: the interpreter, the standard library, shared libraries; no installed packages.

A package folder can hold this very package, and with it generated tests and their solutions.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache

PACKAGES = ("site-packages", "dist-packages")
FILES = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


@cache
def interpreter() -> str:
    """The real Python of a virtual environment, or this one."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def standard_library() -> tuple[str, ...]:
    """The folders of the standard library, pure and compiled."""
    names = ("stdlib", "platstdlib")
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    found = (os.path.realpath(sysconfig.get_path(name, vars=base)) for name in names)
    return tuple(dict.fromkeys(path for path in found if os.path.isdir(path)))


def _mapped_folders() -> set[str]:
    """Folders of the shared libraries in use here, wherever this system keeps them."""
    with open("/proc/self/maps") as lines:
        mapped = {line.split(maxsplit=5)[-1].strip() for line in lines}
    return {os.path.dirname(path) for path in mapped if path.startswith("/") and ".so" in path}


@cache
def library_folders() -> tuple[str, ...]:
    """Folders of shared libraries, outside the standard library."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or "none"
    known = {"/lib64", "/usr/lib64", f"/lib/{multiarch}", f"/usr/lib/{multiarch}", f"{sys.base_prefix}/lib"}
    folders = {os.path.realpath(path) for path in known | _mapped_folders() if os.path.isdir(path)}
    inside = tuple(f"{path}/" for path in standard_library())
    return tuple(sorted(path for path in folders if not f"{path}/".startswith(inside)))


def files() -> list[str]:
    """Single files (and the folder of time zones), as far as they are there."""
    return [path for path in (interpreter(), *FILES) if os.path.exists(path)]


def _entries(folder: str) -> list[str]:
    return sorted(entry.path for entry in os.scandir(folder))


def trees() -> list[str]:
    """Everything readable as trees without package folders: for Landlock, which cannot take away."""
    found = files()
    for folder in library_folders():
        held = [path for path in _entries(folder) if os.path.basename(path).startswith("python")]
        found += [path for path in _entries(folder) if path not in held] if held else [folder]
    for folder in standard_library():
        found += [path for path in _entries(folder) if os.path.basename(path) not in PACKAGES]
    return found


def package_folders() -> list[str]:
    """The package folders below the readable folders: for the mount namespace, which covers them."""
    below = [*standard_library(), *library_folders()]
    below += [path for top in below for path in _entries(top) if os.path.basename(path).startswith("python")]
    found = {os.path.join(path, name) for path in below for name in PACKAGES}
    return sorted(path for path in found if os.path.isdir(path))

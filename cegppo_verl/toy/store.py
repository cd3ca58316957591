"""The folder of everything that is built from a recipe: content-addressed, atomic, one lock per item.

``<root>/<kind>/<name>-<hash of the recipe>/``. A folder appears under its name only when it is complete and
on the disk; ``recipe.json``, written last, lists its files with their sizes, so a damaged folder is seen and
built again. The root is ``$CEGPPO_ASSETS`` or ``~/.cache/cegppo-verl``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cegppo_verl.errors import UserError

ROOT_VARIABLE = "CEGPPO_ASSETS"
MANIFEST = "recipe.json"
Report = Callable[[str], None]


def assets_root() -> Path:
    """Where models and data are kept; the folder need not exist yet."""
    chosen = os.environ.get(ROOT_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".cache" / "cegppo-verl"


def say(line: str) -> None:
    """A progress line on standard error."""
    print(line, file=sys.stderr, flush=True)


def place(kind: str, name: str, recipe: dict[str, Any]) -> Path:
    """The folder of an item, there or not."""
    content = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return assets_root() / kind / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def is_complete(folder: Path) -> bool:
    """Whether every file that belongs to the item is there with its size."""
    try:
        sizes = json.loads((folder / MANIFEST).read_text())["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def ensure(
    kind: str, name: str, recipe: dict[str, Any], build: Callable[[Path], None], report: Report = say
) -> Path:
    """The complete folder of an item; built by ``build(empty folder)`` when it is not there.

    Any number of processes may ask for the same item: one builds, the others wait for it.

    Raises:
        UserError: the root cannot be written, or the disk is full.
    """
    folder = place(kind, name, recipe)
    if is_complete(folder):
        return folder
    with _readable_os_errors(folder), _locked(folder, name, report):
        if not is_complete(folder):
            _build(folder, recipe, build, report)
    return folder


@contextmanager
def _readable_os_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = f"make room or rights there, or set {ROOT_VARIABLE} to another folder"
        raise UserError(f"cannot write: {error.strerror or error}", file=folder, hint=hint) from error


@contextmanager
def _locked(folder: Path, name: str, report: Report) -> Iterator[None]:
    locks = assets_root() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(f"{name}: another process is building it, waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(folder: Path, recipe: dict[str, Any], build: Callable[[Path], None], report: Report) -> None:
    if folder.exists():
        report(f"{folder.name}: incomplete or damaged, building it again")
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")  # ours alone: we hold the lock
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        build(temporary)
        _write_manifest(temporary, recipe)
        _sync(temporary)
        os.rename(temporary, folder)
        _sync_one(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_manifest(folder: Path, recipe: dict[str, Any]) -> None:
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in _files(folder)}
    (folder / MANIFEST).write_text(json.dumps({"recipe": recipe, "files": sizes}, indent=2) + "\n")


def _sync(folder: Path) -> None:
    for path in [*_files(folder), *(p for p in folder.rglob("*") if p.is_dir()), folder]:
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse it for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Losses by name, and losses that live outside this package: a file or a module with a ``LOSS``.

    my_lab.losses.soft_clip            the attribute LOSS of a module that can be imported
    my_lab.losses.soft_clip:OTHER      another attribute
    losses/soft_clip.py, …:OTHER       a file; relative paths start at the working directory

A file is imported under a name of its own, so two files called alike do not meet.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from cegppo_verl.losses import fingerprint
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.registry import LOSSES

ATTRIBUTE = "LOSS"


def is_external(name: str) -> bool:
    """Whether ``name`` means a module or a file rather than a name of the registry."""
    return any(mark in name for mark in "./:")


def find(name: str) -> Loss:
    """The loss called ``name``, of this package or from outside.

    Raises:
        ValueError: there is none, with the nearest name; or the module cannot be imported, or lacks it.
    """
    if is_external(name):
        return _load(name)
    if name not in LOSSES:
        near = difflib.get_close_matches(name, LOSSES, 1, 0.5)
        raise ValueError(f"no loss is called '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    return LOSSES[name]


def label(name: str) -> str:
    """The name under which verl knows a loss that runs our code: letters, digits and underscores."""
    if not is_external(name):
        return name
    source, attribute = _split(name)
    stem = Path(source).stem if source.endswith(".py") else source.rpartition(".")[2]
    return stem if attribute == ATTRIBUTE else f"{stem}_{attribute}"


def resolved(name: str) -> str:
    """``name`` with a relative file path made absolute: what another process can find."""
    source, attribute = _split(name)
    return f"{Path(source).resolve()}:{attribute}" if source.endswith(".py") else name


def version(name: str) -> str:
    """What identifies a loss's formula: its declared version, and for one from outside a hash of its code.

    The code is its file and every module of the user's own that it imports (:mod:`fingerprint`), and the
    attribute's name. Of this package's modules the versions of their losses count.
    """
    loss = find(name)
    if not is_external(name):
        return loss.version
    source, attribute = _split(name)
    return f"{loss.version}+sha256:{fingerprint.of(module_of(source), attribute)}"


def _split(name: str) -> tuple[str, str]:
    source, _, attribute = name.partition(":")
    return source, attribute or ATTRIBUTE


def _load(name: str) -> Loss:
    source, attribute = _split(name)
    found = getattr(module_of(source), attribute, None)
    if not isinstance(found, Loss):
        raise ValueError(f"'{source}' has no {attribute} that is a cegppo_verl.losses.loss.Loss")
    return found


def module_of(source: str) -> ModuleType:
    """The module of a name without its ":ATTRIBUTE": a file's or an importable one; ValueError if neither."""
    if source.endswith(".py") and not Path(source).is_file():
        raise ValueError(f"there is no file '{source}'")
    try:
        return _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except Exception as error:  # it is somebody's code: it may raise anything
        raise ValueError(f"'{source}' cannot be imported: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    name = "cegppo_external_" + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while they are being made
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module

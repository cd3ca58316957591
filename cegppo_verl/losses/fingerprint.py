"""A hash of a loss's code from outside this package: what may change its gradients and can be seen.

Followed are the imports, at any depth and wherever in the file, of modules that are neither Python's own nor
installed in site-packages; those have versions, which a run's manifest lists. Code that is reached in another
way (``importlib``, files that are read) is not seen.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

LENGTH = 12  # hex digits
OWN = __name__.partition(".")[0]
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))


@functools.cache  # the code that is loaded, even if its file is edited while a process plans
def of(module: ModuleType, attribute: str) -> str:
    """The first hex digits of the SHA-256 over the attribute's name and all files that count."""
    digest = hashlib.sha256(attribute.encode())
    for name, content in sorted(_sources(module).items()):
        digest.update(f"\n{name}\n".encode() + content)
    return digest.hexdigest()[:LENGTH]


def _sources(module: ModuleType) -> dict[str, bytes]:
    """Content by module name ("" for the loss's own module, so that its folder does not count)."""
    found: dict[str, bytes] = {}
    waiting = [("", Path(module.__file__), module.__package__ or "")] if module.__file__ else []
    while waiting:
        name, file, package = waiting.pop()
        found[name] = file.read_bytes()
        for imported in _imports(ast.parse(found[name]), package):
            if imported.partition(".")[0] == OWN:
                found[imported] = _versions(imported)
            elif imported not in found and (where := _own_file(imported)) is not None:
                waiting.append((imported, *where))
    return found


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level else base
            # ``from a import b``: b may be a module of its own.
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _own_file(name: str) -> tuple[Path, str] | None:
    """File and package of a module of the user's own; None for Python's, installed and built-in ones."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None  # not a module: a name in one, or something optional that is not there
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    file = Path(spec.origin).resolve()
    installed = any(file.is_relative_to(folder) for folder in _INSTALLED)
    return None if installed else (file, spec.parent or "")


def _versions(name: str) -> bytes:
    """Versions of the losses that a module of this package holds, as text; empty when it holds none."""
    from cegppo_verl.losses.loss import Loss

    held = vars(sys.modules[name]) if name in sys.modules else {}
    return repr(sorted((k, v.version) for k, v in held.items() if isinstance(v, Loss))).encode()

"""Where something of an expanded grid stands in its file.

A generator writes many arms in one entry, and a setting may come from one of several places in a file. Checks
work on the expanded form; this module says where in the file the fault lies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.yaml_file import Document, KeyPath, key_text

_PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def problem(message: str, document: Document | None, path: KeyPath, hint: str) -> UserError:
    """The error for ``path``, with file and line where there is a document."""
    line = document.line(path) if document else None
    file = document.file if document else None
    return UserError(message + (f" (line {line})" if line else ""), file=file, key=key_text(path), hint=hint)


@dataclass(frozen=True)
class Place:
    """An arm's place in the file.

    Args:
        entry: index in the file's ``arms``.
        varied: from "params.beta1" or "settings.eval.every" to the place of the value, below the entry.
    """

    entry: int
    varied: Mapping[str, KeyPath] = field(default_factory=dict)

    def origin(self, rest: KeyPath) -> KeyPath:
        """The path in the file of ``rest``, a path below the arm."""
        for end in range(len(rest), 0, -1):
            found = self.varied.get(".".join(str(part) for part in rest[:end]))
            if found is not None:
                return ("arms", self.entry, *found, *rest[end:])
        return ("arms", self.entry, *rest)


@dataclass(frozen=True)
class Expanded(Document):
    """A document whose ``data`` has its arms written out; lines are still those of the file."""

    places: Sequence[Place] = ()

    def origin(self, path: KeyPath) -> KeyPath:
        """The path in the file of a path in ``data``."""
        if len(path) > 1 and path[0] == "arms" and isinstance(path[1], int) and path[1] < len(self.places):
            return self.places[path[1]].origin(path[2:])
        return path

    def line(self, path: KeyPath) -> int | None:
        """The line in the file of a path in ``data``."""
        return super().line(self.origin(path))

    def in_file(self, error: UserError) -> UserError:
        """The same error with its key as the file has it."""
        if not error.key or not error.key.startswith("arms["):
            return error
        key = key_text(self.origin(path_of(error.key)))
        return UserError(error.message, file=error.file, key=key, hint=error.hint)


def path_of(key: str) -> KeyPath:
    """The inverse of ``key_text`` for keys without dots and brackets."""
    return tuple(int(index) if index else word for index, word in _PART.findall(key))


@dataclass(frozen=True)
class Layer:
    """Some settings and where they stand.

    Args:
        path: e.g. ("settings",) or ("arms", 1, "settings").
        values: as the file has them.
    """

    path: KeyPath
    values: Mapping[str, Any]

    def has(self, path: KeyPath) -> bool:
        """Whether the setting at ``path`` is given here."""
        here: Any = self.values
        for part in path:
            if not isinstance(here, Mapping):
                return True
            if part not in here:
                return False
            here = here[part]
        return True


def of_setting(path: KeyPath, layers: Sequence[Layer]) -> KeyPath:
    """Where the setting ``path`` got its value, or where it can be changed when no layer gives it."""
    winner = next((layer for layer in reversed(layers) if layer.has(path)), layers[0])
    return (*winner.path, *path)

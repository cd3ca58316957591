"""Read a YAML file so that every mistake in it can be pointed at: file, key path and line.

PyYAML speaks YAML 1.1, where ``1e-3`` is a string, ``on`` is a boolean and ``12:30`` is the number 750. This
loader keeps to YAML 1.2's core types, and refuses duplicate keys instead of keeping the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cegppo_verl.errors import UserError, did_you_mean

MAX_BYTES = 1_000_000  # a grid is a page of text; more is the wrong file
MAX_NODES = 100_000  # nested aliases grow exponentially ("billion laughs")

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's implicit types."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - PyYAML's own class attribute, replaced and not shared


_PREFIX = "tag:yaml.org,2002:"
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", "<<", "<"),
):
    _Loader.add_implicit_resolver(_PREFIX + _tag, re.compile(f"^(?:{_pattern})$"), list(_first))


@dataclass(frozen=True)
class Document:
    """A parsed YAML mapping and the line of each key path in it."""

    file: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """The 1-based line of ``path``, or of its nearest ancestor that the file has."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def key_text(path: KeyPath) -> str:
    """``("arms", 1, "params", "beta1")`` → ``arms[1].params.beta1``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read_yaml(file: str | Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UserError: the file is missing, unreadable, empty, too large, not YAML, not a mapping, or has a
            duplicate or non-text key; with the line where there is one.
    """
    path = Path(file)
    node, loader = _parse(_text(path), path)
    if node is None:
        raise UserError("the file is empty", file=path, hint="start from ablations/demo.yaml")
    if not isinstance(node, yaml.MappingNode):
        hint = "write 'key: value' lines at the top level, as ablations/demo.yaml does"
        raise UserError("the top level is not a mapping", file=path, hint=hint)
    lines: dict[KeyPath, int] = {}
    _walk(node, (), lines, [], path)
    try:
        return Document(path, loader.construct_document(node), lines)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _not_yaml(error, path) from error


def _text(path: Path) -> str:
    if not path.exists():
        siblings = [other.name for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, siblings) if siblings else "check the path"
        raise UserError("no such file", file=path, hint=hint)
    if not path.is_file():
        raise UserError("this is not a file", file=path, hint="name a YAML file, e.g. ablations/demo.yaml")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"larger than {MAX_BYTES:,} bytes", file=path, hint="is this the right file?")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"not UTF-8 text: {error.reason} at byte {error.start}", file=path, hint="save the file as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", file=path, hint="check its permissions"
        ) from error


def _parse(text: str, path: Path) -> tuple[yaml.Node | None, _Loader]:
    try:
        loader = _Loader(text)
        return loader.get_single_node(), loader
    except (yaml.YAMLError, RecursionError) as error:
        raise _not_yaml(error, path) from error


def _not_yaml(error: Exception, path: Path) -> UserError:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
    hint = "indent with spaces, close every bracket and quote, and quote text that contains ': ' or a symbol"
    return UserError(f"not valid YAML: {place}{problem}", file=path, hint=hint)


def _walk(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], above: list[int], file: Path) -> None:
    if id(node) in above:
        raise UserError(
            "an alias contains itself",
            file=file,
            key=key_text(path),
            hint="write the value out instead of '*alias'",
        )
    if len(lines) > MAX_NODES:
        raise UserError(
            f"more than {MAX_NODES:,} values", file=file, hint="use fewer aliases, or split the grid"
        )
    lines[path] = node.start_mark.line + 1
    for part, child in _children(node, path, file):
        _walk(child, (*path, part), lines, [*above, id(node)], file)


def _children(node: yaml.Node, path: KeyPath, file: Path) -> list[tuple[str | int, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        return list(enumerate(node.value))
    if not isinstance(node, yaml.MappingNode):
        return []
    first: dict[str, int] = {}
    for key, _ in node.value:
        _check_key(key, first, path, file)
    return [(key.value, value) for key, value in node.value]


def _check_key(key: yaml.Node, first: dict[str, int], path: KeyPath, file: Path) -> None:
    line = key.start_mark.line + 1
    if key.tag == _PREFIX + "int":  # the step of a schedule; cells are JSON, where every key is text
        key.tag = _PREFIX + "str"
    if key.tag not in (_PREFIX + "str", _PREFIX + "merge"):
        text = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
        raise UserError(
            f"line {line}: the key '{text}' is not text",
            file=file,
            key=key_text(path) or None,
            hint="put it in quotes",
        )
    if key.value in first:
        raise UserError(
            f"line {line}: duplicate key, first written on line {first[key.value]}",
            file=file,
            key=key_text((*path, key.value)),
            hint="keep one of the two",
        )
    first[key.value] = line

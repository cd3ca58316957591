"""Write the skeleton of a loss: PPO-clip that passes the contract, with marks where the new equation goes.

Two ways: into a checkout of this repository (the loss, its line in the registry, its row of the tests), or
one file of its own, which a grid names by its path.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from cegppo_verl.errors import UserError
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.records import atomic
from cegppo_verl.scaffold import registry_edit

REGISTRY = Path("cegppo_verl/losses/registry.py")
ROWS = Path("tests/losses/rows")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Plan:
    """What would be written.

    Args:
        name: of the loss. files: new content by path. replaces: which of them exist and are extended.
    """

    name: str
    files: Mapping[Path, str]
    replaces: tuple[Path, ...] = ()

    def write(self) -> None:
        """Write all files; nothing when one of the new ones exists.

        Raises:
            UserError: a file exists, or cannot be written.
        """
        try:
            for path, content in self.files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic.write_text(path, content)
        except OSError as error:
            raise UserError(
                f"cannot be written: {error.strerror}", file=path, hint="choose another place"
            ) from error


def standalone(path: Path, name: str | None = None) -> Plan:
    """A loss in one file of its own, with the surrogate that ``cegppo check-loss`` compares it with.

    Args:
        path: ends in .py; its stem is the loss's name. name: must be that stem when given.

    Raises:
        UserError: a bad name, or the file exists.
    """
    if path.suffix != ".py":
        raise UserError("a loss is a Python file", file=path, key="--file", hint=f"write {path}.py")
    if name is not None and name != path.stem:
        hint = f"leave the name out, or call the file {path.with_name(name + '.py')}"
        raise UserError(f"the loss '{name}' cannot be in a file called {path.name}", key="--file", hint=hint)
    _check_name(path.stem)
    _check_new([path])
    return Plan(
        path.stem, {path: _render("loss.py.j2", name=path.stem, file=path.as_posix(), standalone=True)}
    )


def in_checkout(name: str, start: Path) -> Plan:
    """The loss's file, its line in the registry, its row of the tests.

    Args:
        start: a folder inside the checkout.

    Raises:
        UserError: a bad name, a file exists, or ``start`` is not inside a checkout.
    """
    _check_name(name)
    root = _root(start)
    loss, row = root / f"cegppo_verl/losses/{name}.py", root / ROWS / f"{name}.py"
    _check_new([loss, row])
    try:
        registry = registry_edit.with_loss((root / REGISTRY).read_text(), name)
    except ValueError as error:
        hint = "add the import and the line by hand, or use --file"
        raise UserError(str(error), file=root / REGISTRY, hint=hint) from error
    files = {
        loss: _render("loss.py.j2", name=name, file="", standalone=False),
        root / REGISTRY: registry,
        row: _render("row.py.j2", name=name),
    }
    return Plan(name, files, (root / REGISTRY,))


def _root(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / REGISTRY).is_file() and (folder / ROWS / "__init__.py").is_file():
            return folder
    hint = "go there, or write a file of its own: cegppo new-loss --file losses/my_loss.py"
    raise UserError("this is not a checkout of cegppo-verl", file=start, hint=hint)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        proposal = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = "use lower-case letters, digits and single underscores, a letter first"
        good = _NAME.fullmatch(proposal) and not keyword.iskeyword(proposal)
        raise UserError(f"'{name}' cannot name a loss", hint=f"{hint}: {proposal}" if good else hint)
    # verl's functions are found by name too: ours would take its place.
    taken = set(LOSSES) | {loss.runs for loss in LOSSES.values() if loss.runs}
    if name in taken:
        raise UserError(f"there is already a loss called '{name}'", hint=f"choose another: my_{name}")


def _check_new(paths: list[Path]) -> None:
    for path in paths:
        if path.exists():
            hint = "choose another name; nothing is overwritten, nothing was written"
            raise UserError("this file exists already", file=path, hint=hint)


def _render(template: str, **values: object) -> str:
    environment = Environment(
        loader=PackageLoader("cegppo_verl.scaffold"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)

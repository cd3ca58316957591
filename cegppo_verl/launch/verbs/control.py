"""What ``stop`` and ``retry`` share: who asks, and the cells with their states."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.launch.verbs.targets import Finder, Target
from cegppo_verl.records.overview import Overview
from cegppo_verl.records.status import Status


def asker() -> str:
    """The person at this terminal: ``name@host``."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = "somebody"
    return f"{name}@{socket.gethostname()}"


def with_states(
    finder: Finder, words: Sequence[str], arms: Sequence[str] | None
) -> list[tuple[Target, Status]]:
    """The named cells and how far they are."""
    targets = finder.all(words, arms)
    states = look(finder.results, targets)
    return [(target, states[target.id]) for target in targets]


def look(results: Path, targets: Sequence[Target]) -> dict[str, Status]:
    """Status by cell id; run directories outside ``results`` are looked up where they are."""
    found: dict[str, Status] = {}
    roots = {target.run.path.parent.parent for target in targets} or {results}
    for root in roots:
        found |= Overview(root).look([t.wanted for t in targets if t.run.path.parent.parent == root])
    return found


def write(target: Target, mark: Callable[[], None]) -> None:
    """Leave a mark in a run directory, made when it does not exist.

    Raises:
        UserError: the directory cannot be written.
    """
    try:
        if not target.run.path.is_dir():
            target.run.create(target.cell)
        mark()
    except OSError as error:
        message = f"the mark cannot be written: {error.strerror or error}"
        hint = "ask the owner of the results, or run it as that user"
        raise UserError(message, file=target.run.path, hint=hint) from error


def count(number: int, what: str = "cell") -> str:
    """``1 cell``, ``3 cells``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

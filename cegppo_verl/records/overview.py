"""The states of many cells at once: what was never started costs nothing, what is done is not read again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cegppo_verl.records import status
from cegppo_verl.records.progress import Goal
from cegppo_verl.records.status import LIVE, PLANNED, Status
from cegppo_verl.records.status_cache import Folder

ID_LENGTH = 12  # hex digits at the end of a run directory's name

Place = tuple[str, str]
"""A grid folder and the name of a run directory in it, as plain text, which takes half the time of paths."""


@dataclass(frozen=True)
class Wanted:
    """A cell to look for: its id, the grid and name its run directory would have, and its goal."""

    id: str
    grid: str
    name: str
    goal: Goal


def run_folders(results: Path) -> dict[str, list[Path]]:
    """Run directories by cell id, each list sorted; one listing per grid folder."""
    return {i: [Path(grid, name) for grid, name in pairs] for i, pairs in _listing(results).items()}


def _listing(results: Path) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for grid in sorted(_folders(results)):
        for name in sorted(_names(grid)):
            found.setdefault(name[-ID_LENGTH:], []).append((grid, name))
    return found


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [e.path for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError:
        return []


def _names(grid: str) -> list[str]:
    """Folders called ``<slug>-<id>``; only names are read, no file is asked for."""
    try:
        with os.scandir(grid) as entries:
            return [e.name for e in entries if e.name[-ID_LENGTH - 1 : -ID_LENGTH] == "-" and e.is_dir()]
    except OSError:
        return []


def place(wanted: Wanted, folders: Mapping[str, list[Path]]) -> Path | None:
    """The run directory of a cell: its own grid's, else another grid's; None when it was never started."""
    known = folders.get(wanted.id)
    if not known:
        return None
    return next((p for p in known if p.parent.name == wanted.grid and p.name == wanted.name), known[0])


@dataclass
class Overview:
    """Looks at the cells of a results folder, again and again.

    Args:
        results: folder of all grids; it need not exist.
        save_every: seconds between writes of the cache; 0 writes after each look.
    """

    results: Path
    save_every: float = 0.0
    _grids: dict[str, Folder] = field(default_factory=dict)
    _live: set[str] = field(default_factory=set)
    _saved: float = 0.0

    def look(self, wanted: Iterable[Wanted]) -> dict[str, Status]:
        """Status by cell id."""
        places = _listing(self.results)
        states = {w.id: self._one(w, places.get(w.id)) for w in wanted}
        self._live = {i for i, s in states.items() if s.state in LIVE}
        if time.monotonic() - self._saved >= self.save_every or not self._saved:
            self.save()
        return states

    def save(self) -> None:
        """Write the caches that have changed."""
        self._saved = time.monotonic()
        for folder in self._grids.values():
            folder.save()

    def _one(self, wanted: Wanted, places: list[Place] | None) -> Status:
        if not places:
            return Status(PLANNED, 0, wanted.goal.total)
        own = (f"{self.results}/{wanted.grid}", wanted.name)
        grid, name = own if own in places else places[0]
        folder = self._folder(grid)
        known = folder.facts(
            name, wanted.goal, lambda: wanted.id in self._live or folder.run(name).is_locked()
        )
        if known.why is None:
            return status.beside(wanted.goal, known)
        return status.derive(folder.run(name), wanted.goal, known)

    def _folder(self, path: str) -> Folder:
        if path not in self._grids:
            self._grids[path] = Folder.load(path)
        return self._grids[path]

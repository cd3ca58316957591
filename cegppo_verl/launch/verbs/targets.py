"""Cells as a person names them: a grid file, GRID#arm, a run directory, a slug, or the beginning of an id."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.records.overview import ID_LENGTH, Wanted, place, run_folders
from cegppo_verl.records.progress import Goal
from cegppo_verl.records.rundir import Json, RunDir

GRID_SUFFIXES = (".yaml", ".yml")
SHORTEST_ID = 3
_ARM = re.compile(r"(?P<file>.+\.ya?ml)[#:](?P<arm>[^#:]+)")


@dataclass(frozen=True)
class Target:
    """A cell that was named.

    Attributes:
        run: its run directory, which need not exist.
        cell: content of ``cell.json``, planned or recorded.
    """

    run: RunDir
    cell: Json

    @property
    def id(self) -> str:
        """Twelve hex digits."""
        return str(self.cell["id"])

    @property
    def slug(self) -> str:
        """The name for people."""
        return str(self.cell.get("slug") or self.run.path.name[: -ID_LENGTH - 1])

    @property
    def wanted(self) -> Wanted:
        """The cell as an overview looks for it."""
        return Wanted(self.id, self.run.path.parent.name, self.run.path.name, Goal.of(self.cell))


@dataclass(frozen=True)
class Finder:
    """Finds cells below a results folder.

    Args:
        scale, seeds: replace a grid file's own.
    """

    results: Path
    scale: str | None = None
    seeds: Sequence[int] | None = None

    def all(self, words: Sequence[str], arms: Sequence[str] | None = None) -> list[Target]:
        """Every cell that one of ``words`` names, each once, in order.

        Raises:
            UserError: a word names nothing, or an arm does not exist.
        """
        found = {t.run.path: t for word in words for t in self.named(word)}
        _require_arms(arms, {str(t.cell.get("arm")) for t in found.values()})
        return [t for t in found.values() if not arms or t.cell.get("arm") in arms]

    def one(self, word: str) -> Target:
        """The only cell that ``word`` names.

        Raises:
            UserError: there is none, or several.
        """
        found = self.named(word)
        if len(found) > 1:
            begun = [t for t in found if t.run.path.is_dir()]
            if len(begun) == 1:
                return begun[0]
            names = ", ".join(f"{t.slug} ({t.id})" for t in found[:5]) + (" …" if len(found) > 5 else "")
            hint = f"name one of them: {names}"
            raise UserError(f"'{word}' names {len(found)} cells", hint=hint)
        return found[0]

    def named(self, word: str) -> list[Target]:
        """All cells that ``word`` names; at least one."""
        if match := _ARM.fullmatch(word):
            return self._grid(Path(match["file"]), match["arm"])
        path = Path(word)
        if (path / "cell.json").is_file():
            return [_recorded(path)]
        if path.suffix in GRID_SUFFIXES:
            return self._grid(path, None)
        return self._search(word)

    def _grid(self, file: Path, arm: str | None) -> list[Target]:
        cells = expand(load_grid(file, scale=self.scale, seeds=self.seeds))
        if arm is not None:
            _require_arms([arm], {c.arm for c in cells}, file)
        folders = run_folders(self.results)
        return [self._planned(c, folders) for c in cells if arm in (None, c.arm)]

    def _planned(self, cell: Cell, folders: dict[str, list[Path]]) -> Target:
        content = cell_json(cell)
        found = place(Wanted(cell.id, cell.grid, cell.run_name, Goal(0, None, 0)), folders)
        return Target(RunDir(found or self.results / cell.grid / cell.run_name), content)

    def _search(self, word: str) -> list[Target]:
        paths = [path for paths in run_folders(self.results).values() for path in paths]
        found = [p for p in paths if word in (p.name, _slug(p), f"{p.parent.name}/{p.name}")]
        if not found and len(word) >= SHORTEST_ID:
            found = [p for p in paths if p.name[-ID_LENGTH:].startswith(word.lower())]
        if not found:
            raise self._unknown(word, paths)
        return [_recorded(path) for path in found]

    def _unknown(self, word: str, paths: Sequence[Path]) -> UserError:
        names = {_slug(p) for p in paths} | {p.name[-ID_LENGTH:] for p in paths}
        grids = sorted({p.parent.name for p in paths})
        if word in grids:
            own = min(p.name for p in paths if p.parent.name == word)
            hint = f"name its file, e.g. ablations/{word}.yaml, or one of its cells, e.g. {word}/{own}"
            return UserError(f"'{word}' is a grid below {self.results}, not a cell", hint=hint)
        close = difflib.get_close_matches(word, sorted(names), n=3, cutoff=0.4)
        guess = f"did you mean {' or '.join(close)}? " if close else ""
        hint = f"{guess}name a run directory, a slug, an id, a grid file, or FILE.yaml#arm"
        return UserError(f"no cell '{word}' below {self.results}", hint=hint)


def _recorded(path: Path) -> Target:
    cell = RunDir(path).cell()
    if cell is None or not {"id", "settings"} <= cell.keys():
        hint = "restore it, or remove the run folder"
        raise UserError("not a readable cell", file=path / "cell.json", hint=hint)
    return Target(RunDir(path), cell)


def _slug(path: Path) -> str:
    return path.name[: -ID_LENGTH - 1]


def _require_arms(arms: Sequence[str] | None, known: Iterable[str], file: Path | None = None) -> None:
    names = set(known)
    for arm in arms or ():
        if arm not in names:
            raise UserError(f"unknown arm '{arm}'", file=file, hint=did_you_mean(arm, names))

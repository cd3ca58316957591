"""Facts of many runs kept between looks, so that a thousand finished cells are not read a thousand times.

One file per grid folder. Nothing is believed that the files do not confirm: an entry holds only while every
source has the size, times and inode it had. Where the file cannot be written there is no cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cegppo_verl
from cegppo_verl.records import facts
from cegppo_verl.records.facts import Facts, Stamp
from cegppo_verl.records.metric_digest import Digest
from cegppo_verl.records.progress import Goal
from cegppo_verl.records.rundir import RunDir

FILE = ".status-cache.json"
VERSION = f"1 {cegppo_verl.__version__}"
WORTH_KEEPING = 100, 20_000_000  # runs, bytes of their sources: below both, looking writes nothing
SETTLED_SECONDS = 2.0  # a file younger than this may change again without its times showing it


@dataclass
class Folder:
    """The runs of one grid folder.

    Attributes:
        entries: by name of the run directory: goal, attempts, stamps, facts.
    """

    path: str
    entries: dict[str, Any] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, path: str) -> Folder:
        """What an earlier look has left; empty when there is nothing, or another version wrote it."""
        try:
            stored = json.loads(Path(path, FILE).read_bytes())
            if stored["version"] == VERSION and isinstance(stored["runs"], dict):
                return cls(path, stored["runs"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        return cls(path)

    def facts(self, name: str, goal: Goal, live: Callable[[], bool]) -> Facts:
        """The facts of a run.

        Args:
            live: whether it is running, so that what is known may be extended instead of read again.
        """
        entry = self.entries.get(name)
        try:
            if entry is not None and (found := _confirmed(f"{self.path}/{name}", entry, goal)) is not None:
                return found
            return self._read(self.run(name), goal, _digests(entry) if live() else {})
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):  # a damaged entry
            return self._read(self.run(name), goal, {})

    def run(self, name: str) -> RunDir:
        """A run directory of this folder."""
        return RunDir(Path(self.path, name))

    def _read(self, run: RunDir, goal: Goal, known: dict[str, Digest]) -> Facts:
        count = len(os.listdir(run.path / "attempts")) if (run.path / "attempts").is_dir() else 0
        stamps = facts.sources(str(run.path), goal, count)
        found = facts.read(run, goal, known)
        if found.partial and found.why is None:  # done is proved by whole files only
            found = facts.read(run, goal)
        settled = _settled(stamps) and not found.partial and found.attempt == count
        self.entries[run.path.name] = [_goal(goal), count if settled else -1, stamps, found.to_json()]
        self.changed = True
        return found

    def save(self) -> None:
        """Write what has changed; few runs are read quickly, and a folder that is read-only has no cache."""
        if self.changed and self._is_worth_keeping():
            text = json.dumps({"version": VERSION, "runs": self.entries}, separators=(",", ":"))
            with contextlib.suppress(OSError):
                _replace(Path(self.path, FILE), text)
            self.changed = False

    def _is_worth_keeping(self) -> bool:
        runs, size = WORTH_KEEPING
        if len(self.entries) >= runs:
            return True
        return sum(s[0] for entry in self.entries.values() for s in entry[2] if s is not None) >= size


def _confirmed(path: str, entry: list[Any], goal: Goal) -> Facts | None:
    planned, attempts, stamps, stored = entry
    if attempts < 0 or planned != _goal(goal) or facts.sources(path, goal, attempts) != stamps:
        return None
    return Facts.from_json(stored)


def _digests(entry: list[Any] | None) -> dict[str, Digest]:
    return dict(Facts.from_json(entry[3]).logs) if entry is not None else {}


def _goal(goal: Goal) -> list[Any]:
    return [goal.total, goal.evaluation, goal.samples]


def _settled(stamps: list[Stamp]) -> bool:
    """Whether every source is old enough; one from the future (a clock was set back) is not."""
    newest = max((max(s[1], s[2]) for s in stamps if s is not None), default=0)
    return newest < (time.time() - SETTLED_SECONDS) * 1e9


def _replace(path: Path, text: str) -> None:
    """Atomic, but not made to survive a power cut: it can be derived again."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise

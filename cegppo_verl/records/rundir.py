"""A run directory: everything one cell has left behind, append-only, self-contained.

Layout: ``cell.json``, ``manifest.json``, ``attempts/NNN/``,
``validation/<step>.jsonl``, ``checkpoints/``. Nothing here knows who executes the cell.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.records import atomic

Json = dict[str, Any]
GONE = object()  # as a value of Attempt.update: the field is taken out
ALIVE_SECONDS = 90.0  # a sign of life older than this is none; attempts give one every 15 s


def read_json(path: Path) -> Json | None:
    """The JSON object in ``path``; None when the file is missing or not valid JSON."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class Attempt:
    """One execution of a cell."""

    number: int
    path: Path

    @property
    def metrics_file(self) -> Path:
        """Written by verl's file logger, one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def log_file(self) -> Path:
        """Standard output and error of the driver and of all its workers."""
        return self.path / "log.txt"

    @property
    def record_file(self) -> Path:
        """How the attempt began and ended."""
        return self.path / "attempt.json"

    @property
    def alive_file(self) -> Path:
        """Touched every few seconds while the attempt is followed."""
        return self.path / "alive"

    def record(self) -> Json:
        """What is known of its beginning and end; without ``ended`` nobody saw it end."""
        return read_json(self.record_file) or {}

    def update(self, **fields: Any) -> None:
        """Merge ``fields`` into the record, atomically; those that are ``GONE`` are taken out."""
        merged = {**self.record(), **fields}
        atomic.write_json(
            self.record_file, {k: v for k, v in merged.items() if k not in fields or v is not GONE}
        )


@dataclass(frozen=True)
class RunDir:
    """One cell's directory."""

    path: Path

    @property
    def cell_file(self) -> Path:
        """The resolved cell."""
        return self.path / "cell.json"

    @property
    def manifest_file(self) -> Path:
        """Provenance."""
        return self.path / "manifest.json"

    @property
    def validation(self) -> Path:
        """verl's sample dumps, ``<step>.jsonl``."""
        return self.path / "validation"

    @property
    def checkpoints(self) -> Path:
        """``global_step_N`` folders; not part of the record."""
        return self.path / "checkpoints"

    def cell(self) -> Json | None:
        """The resolved cell, or None when missing or damaged."""
        return read_json(self.cell_file)

    def manifest(self) -> Json:
        """Provenance; empty when there is none."""
        return read_json(self.manifest_file) or {}

    def update_manifest(self, **fields: Any) -> None:
        """Merge ``fields`` into the manifest, atomically."""
        atomic.write_json(self.manifest_file, {**self.manifest(), **fields})

    def create(self, cell: Json) -> None:
        """Make the directory for ``cell``.

        Raises:
            UserError: the directory holds another cell.
        """
        known = self.cell()
        if known is not None and known.get("id") != cell["id"]:
            raise UserError(
                f"holds cell {known.get('id')}, not {cell['id']}",
                file=self.cell_file,
                hint="choose another --results",
            )
        self.validation.mkdir(parents=True, exist_ok=True)
        if known is None:
            atomic.write_json(self.cell_file, cell)

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        folder = self.path / "attempts"
        numbers = (
            sorted(int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit()) if folder.is_dir() else []
        )
        return [Attempt(number, folder / f"{number:03d}") for number in numbers]

    def next_attempt(self) -> Attempt:
        """The attempt that :meth:`new_attempt` would claim; makes nothing."""
        known = self.attempts()
        number = known[-1].number + 1 if known else 1
        return Attempt(number, self.path / "attempts" / f"{number:03d}")

    def new_attempt(self) -> Attempt:
        """Claim the next attempt number. Call it with the lock held."""
        attempt = self.next_attempt()
        attempt.path.mkdir(parents=True)
        return attempt

    @property
    def lock_file(self) -> Path:
        """Held (flock) by the runner that executes the cell; the kernel frees it when that process dies."""
        return self.path / "runner.lock"

    @contextlib.contextmanager
    def lock(self, patience: float = 2.0) -> Iterator[bool]:
        """Try to become the only runner of this cell; yields whether that worked.

        Args:
            patience: seconds to keep trying, because a status query holds a shared lock for a moment.
        """
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            held = _try_lock(descriptor, fcntl.LOCK_EX, patience)
            if held:
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield held
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether some runner executes this cell now. Writes nothing."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH, 0.0)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int, kind: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)

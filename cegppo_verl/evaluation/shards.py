"""Answers on the disk: one append-only file per call, every write fsynced, joined into one file at the end.

    <folder>/shards/001.jsonl, …    what a call has recorded; a torn last line is ignored
    <folder>/samples.jsonl          all answers, sorted: the same bytes however often the work was interrupted
    <folder>/samples.parquet        the columns of ``records/schema.py``, made from it

Only one process may write to a folder at a time; the caller holds the lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from cegppo_verl.evaluation.answers import Record, key_of, parse, to_line
from cegppo_verl.evaluation.plan import Key
from cegppo_verl.records import atomic, table
from cegppo_verl.records.schema import SCHEMA, names

SAMPLES = "samples.jsonl"
Records = dict[Key, Record]


def shard_files(folder: Path) -> list[Path]:
    """The shards, oldest first."""
    found = [path for path in (folder / "shards").glob("*.jsonl") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem))


def load(folder: Path) -> Records:
    """All recorded answers; of several to one item the newest. Lines that are not whole are left out."""
    records: Records = {}
    for path in (folder / SAMPLES, *shard_files(folder)):
        records.update((key_of(row), row) for row in _read(path))
    return records


def _read(path: Path) -> list[Record]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [row for line in lines if line and (row := parse(line)) is not None]


class Shard:
    """The file of one call; made at the first write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def append(self, records: Iterable[Mapping]) -> None:
        """Write records and wait until they are on the disk.

        Raises:
            OSError: the disk is full or read-only.
        """
        if self._descriptor is None:
            self._descriptor = self._create()
        data = memoryview(b"".join(to_line(dict(row)) for row in records))
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)

    def _create(self) -> int:
        shards = self._folder / "shards"
        shards.mkdir(parents=True, exist_ok=True)
        known = shard_files(self._folder)
        path = shards / f"{int(known[-1].stem) + 1 if known else 1:03d}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        atomic.sync_folder(shards)
        return descriptor

    def __enter__(self) -> Shard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def compact(folder: Path) -> Records:
    """Join the shards into ``samples.jsonl`` and ``samples.parquet``; returns all answers.

    Killed at any point it has lost nothing: the shards go last, and what is in both places counts once.
    """
    shards, records = shard_files(folder), load(folder)
    stale = not (folder / table.NAME).is_file()
    if shards or (records and stale):
        rows = [records[key] for key in sorted(records)]
        atomic.write_bytes(folder / SAMPLES, b"".join(map(to_line, rows)))
        _write_table(folder / table.NAME, rows)
    for path in shards:
        path.unlink()
    return records


def _write_table(path: Path, rows: list[Record]) -> None:
    import pyarrow as pa

    columns = {name: [_utf8(row[name]) for row in rows] for name in names()}
    arrays = [pa.array(columns[field.name], _plain(field.type)).cast(field.type) for field in SCHEMA]
    table.write(path, [pa.table(arrays, schema=SCHEMA)])


def _plain(kind):  # type: ignore[no-untyped-def]
    return getattr(kind, "value_type", kind)


def _utf8(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value

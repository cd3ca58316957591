"""Derived tables beside their sources: written atomically, rebuilt when a source's content changed.

A derived file carries the SHA-256 of each source in its metadata. Content and not modification time decides
whether it is stale: a clone or a copy sets times at random.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cegppo_verl.records import atomic

# Raise when a reader's rules change, so that tables written under the old rules are rebuilt.
RULES = "2"
_RULES_KEY, _SOURCES_KEY, _NOTES_KEY = b"cegppo.rules", b"cegppo.sources", b"cegppo.notes"


def sha256(data: bytes) -> str:
    """Hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def read_sources(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Contents by name. Hash and parse these same bytes: a running job may append in between."""
    return {name: path.read_bytes() for name, path in files.items()}


def load_or_build(
    table: Path,
    sources: Mapping[str, bytes],
    build: Callable[[Mapping[str, bytes]], tuple[pd.DataFrame, list[str]]],
    schema: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
) -> tuple[pa.Table, list[str]]:
    """The table kept at ``table`` when it was made from these sources, else a freshly built one, kept there.

    With no sources at all an existing table is the record itself (others' published runs) and is returned.
    A table that cannot be written (a read-only checkout) is not an error: it is built again next time.
    With a ``schema`` the table has just these types, whatever the frame that is built holds.

    Args:
        columns: of the table that is returned, the others need not be read; None has all.

    Returns:
        the table, and the notes on what was ignored while it was built.
    """
    fingerprint = _fingerprint(sources)
    kept = _read(table, columns)
    if kept is not None and (kept[2] == fingerprint or not sources):
        return kept[0], kept[1]
    frame, notes = build(sources)
    arrow = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
    if sources:
        _try_write(table, arrow, notes, fingerprint)
    return arrow if columns is None else arrow.select(list(columns)), notes


def keep(table: Path, frame: pd.DataFrame, schema: pa.Schema | None = None) -> None:
    """Write a table that is the record itself: it has no sources, and readers take it as it is."""
    arrow = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
    _try_write(table, arrow, [], _fingerprint({}))


def _fingerprint(sources: Mapping[str, bytes]) -> str:
    return json.dumps({name: sha256(data) for name, data in sorted(sources.items())})


def _read(table: Path, columns: Sequence[str] | None) -> tuple[pa.Table, list[str], str] | None:
    try:
        arrow = pq.read_table(table, columns=None if columns is None else list(columns))
        metadata = arrow.schema.metadata or {}
        if metadata.get(_RULES_KEY) != RULES.encode():
            return None
        return arrow, json.loads(metadata[_NOTES_KEY]), metadata[_SOURCES_KEY].decode()
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None  # absent, cut off or foreign: build it again


def _try_write(table: Path, arrow: pa.Table, notes: list[str], fingerprint: str) -> None:
    own = {_RULES_KEY: RULES, _SOURCES_KEY: fingerprint, _NOTES_KEY: json.dumps(notes)}
    buffer = io.BytesIO()
    pq.write_table(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **own}), buffer)
    try:
        atomic.write_bytes(table, buffer.getvalue())
    except OSError:
        return

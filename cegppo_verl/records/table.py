"""Tables of samples as parquet files: written atomically, read together, compacted into one.

Everything goes through in pieces of 250,000 rows, so that memory does not grow with the number of rows.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from cegppo_verl.errors import UserError
from cegppo_verl.records import atomic
from cegppo_verl.records.schema import FILLED, FRAME, SCHEMA, names

if TYPE_CHECKING:
    import pandas as pd

Source = str | Path | Iterable[str | Path]
NAME = "samples.parquet"
ROWS = 250_000  # of a row group
NEEDED = (*FILLED, "correct")  # the others may be absent


def files(source: Source) -> list[Path]:
    """The files of a path, a glob, a folder (every ``samples.parquet`` below it), or of several of these.

    Raises:
        UserError: nothing there.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    found = [path for one in sources for path in _files(str(one))]
    if not found:
        raise UserError(f"no samples at {', '.join(map(str, sources)) or 'no path'}", hint=f"name a {NAME}")
    return list(dict.fromkeys(found))


def _files(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return sorted(path.rglob(NAME))
    return [path] if path.is_file() else sorted(Path(p) for p in glob.glob(source, recursive=True))


def batches(source: Source, columns: Iterable[str] | None = None, rows: int = ROWS) -> Iterator[pa.Table]:
    """The rows in pieces, with the schema's types.

    Args:
        columns: only these; None for all. rows: of a piece, at most.

    Raises:
        UserError: a file is not parquet, is cut off, or is not a table of samples.
    """
    wanted = [name for name in names() if columns is None or name in set(columns)]
    for path in files(source):
        try:
            with pq.ParquetFile(path) as file:
                have = [name for name in wanted if name in _checked(path, file.schema_arrow.names)]
                for batch in file.iter_batches(rows, columns=have):
                    yield _typed(pa.Table.from_batches([batch]), wanted)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"not a readable table of samples: {error}", file=path) from None


def _checked(path: Path, have: list[str]) -> list[str]:
    missing = [name for name in NEEDED if name not in have]
    if missing:
        raise UserError(f"not a table of samples: no column {', '.join(missing)}", file=path)
    return have


def _typed(table: pa.Table, wanted: list[str]) -> pa.Table:
    empty = [name for name in wanted if name in FILLED and table[name].null_count]
    if empty:
        raise pa.ArrowInvalid(f"column {', '.join(empty)} has empty values")
    columns = [_column(table, SCHEMA.field(name)) for name in wanted]
    return pa.table(columns, schema=pa.schema([SCHEMA.field(name) for name in wanted]))


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.column_names:
        return pa.nulls(len(table), field.type)
    column = table[field.name]
    if column.type == field.type or not pa.types.is_dictionary(field.type):
        return column.cast(field.type)
    return column.cast(field.type.value_type).dictionary_encode()


def write(path: Path, pieces: Iterable[pa.Table], rows: int = ROWS) -> int:
    """Write a table of samples, atomically; returns the number of rows.

    Args:
        path: replaced when there is one. pieces: with the columns and types of the schema.

    Raises:
        UserError: out of the pieces; ``path`` is then unchanged.
    """
    written = 0
    with atomic.replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as file:
        for piece in _filled(pieces, rows):
            file.write_table(piece.select(names()).cast(SCHEMA), row_group_size=rows)
            written += len(piece)
    return written


def _filled(pieces: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in pieces of at least ``rows``, the last one excepted: few row groups from many files."""
    held: list[pa.Table] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= rows:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def compact(source: Source, target: Path) -> int:
    """Join many tables into one file, atomically, rows in the order of the files; returns their number.

    The sources stay: delete them yourself once the new file is where it should be.

    Raises:
        UserError: as ``batches``; or the target is among the sources, and its rows would be there twice.
    """
    sources = files(source)
    if target.resolve() in {path.resolve() for path in sources}:
        raise UserError("the target is one of the sources", file=target, hint="choose another target")
    return write(target, batches(sources))


def load(source: Source) -> pd.DataFrame:
    """All rows as a frame, columns and types as ``records/schema.py`` has them."""
    pieces = list(batches(source))
    table = pa.concat_tables(pieces) if pieces else SCHEMA.empty_table()
    return table.unify_dictionaries().to_pandas().astype(FRAME)

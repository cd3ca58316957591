"""Rows of a source file: parquet, a JSON array, or JSON lines; one at a time, whatever the file's size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cegppo_verl.data.catalog import VERL_COLUMNS, Columns, Dataset
from cegppo_verl.errors import UserError, did_you_mean

SUFFIXES = (".parquet", ".jsonl", ".json")
BATCH = 8192  # rows of a parquet file that are in memory at once
Row = dict[str, Any]


def columns_of(path: Path, wanted: Dataset) -> Columns:
    """The columns to read: the catalogue's, or verl's when the file is in verl's format instead.

    Raises:
        UserError: the file has neither, or cannot be read.
    """
    names = header(path)
    choices = (wanted.columns, VERL_COLUMNS)
    for columns in choices:
        if set(columns.needed) <= set(names):
            return columns
    missing = next(name for name in wanted.columns.needed if name not in names)
    raise UserError(f"column '{missing}' is missing", file=path, hint=did_you_mean(missing, names))


def header(path: Path) -> list[str]:
    """Names of the columns; in JSON those of the first row."""
    if path.suffix == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    first = next(_json_rows(path), None)
    if first is None:
        raise UserError("the file has no rows", file=path, hint="fetch it again, or choose another split")
    return list(first[1])


def rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row]]:
    """(row number from 1, row); parquet rows hold only what ``columns`` name.

    Raises:
        UserError: the file cannot be read; on the way, not before.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path, columns)
    else:
        yield from _json_rows(path)


def value(row: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path; None where a part of it is absent."""
    here: Any = row
    for part in path.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here


def count(path: Path) -> int | None:
    """The number of rows, where it is known without reading them."""
    return int(_parquet(path).metadata.num_rows) if path.suffix == ".parquet" else None


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _parquet_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa

    file = _parquet(path)
    names = set(file.schema_arrow.names)
    own = (columns.id or "").partition(".")[0]
    chosen = [*columns.needed, *([own] if own in names - set(columns.needed) else [])]
    number = 0
    try:
        for batch in file.iter_batches(batch_size=BATCH, columns=chosen):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        with path.open(encoding="utf-8") as file:
            if _is_array(path):
                yield from _checked(path, enumerate(json.load(file), start=1))
            else:
                lines = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
                yield from _checked(path, ((number, _parsed(path, number, line)) for number, line in lines))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _is_array(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return next((char for line in file for char in line.strip()), "") == "["


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise UserError(f"not JSON: {error}", file=path, key=f"row {number}", hint="fetch it again") from None


def _checked(path: Path, numbered: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Row]]:
    for number, row in numbered:
        if not isinstance(row, dict):
            raise UserError("not a JSON object", file=path, key=f"row {number}", hint="one object per row")
        yield number, row


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"cannot be read: {error}", file=path, hint="the file is damaged; get it again")


def problem_text(content: Any, path: Path, number: int) -> str:
    """The user's text of a problem column: text, or chat messages with exactly one, the user's.

    Raises:
        UserError: anything else.
    """
    if isinstance(content, str) and content.strip():
        return content
    if isinstance(content, Sequence) and not isinstance(content, str) and len(content) == 1:
        message = content[0]
        if isinstance(message, Mapping) and message.get("role") == "user":
            return problem_text(message.get("content"), path, number)
    raise UserError(
        "the problem is neither text nor one message of the user",
        file=path,
        key=f"row {number}",
        hint='write text, or [{"role": "user", "content": "…"}]',
    )

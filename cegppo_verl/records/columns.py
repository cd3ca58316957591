"""Columns of an arrow table as arrays: a report of a thousand runs has no time for a data frame of each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa


def filled(table: pa.Table, wanted: Iterable[str]) -> tuple[pa.Table, list[str]]:
    """The rows that have a value in each of these columns, and a note on those that lack one."""
    holes = [name for name in wanted if name in table.column_names and table[name].null_count]
    kept = table
    for name in holes:
        kept = kept.filter(kept[name].is_valid())
    return kept, [f"{len(table) - len(kept)} rows without {' or '.join(holes)} ignored"] if holes else []


def numbers(table: pa.Table, name: str, kind: type[np.generic]) -> np.ndarray:
    """A column of numbers; as floats, null is NaN."""
    values = table[name].to_numpy()
    return values if values.dtype == kind else values.astype(kind)


def codes(table: pa.Table, name: str) -> tuple[np.ndarray, list[str]]:
    """A column of names: each row's place among the distinct ones, −1 for null, and those."""
    column = table[name]
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no rows
        return np.empty(0, np.int32), []
    places = whole.indices.fill_null(-1) if whole.null_count else whole.indices
    return places.to_numpy(), [str(value) for value in whole.dictionary.to_pylist()]

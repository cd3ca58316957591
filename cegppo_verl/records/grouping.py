"""Sums over groups of rows that lie together: a hash table of millions of groups takes far more memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column, (rows,); of encoded names their codes, of nulls 0."""
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([chunk.indices for chunk in column.chunks], column.type.index_type)
    return column.fill_null(0).to_numpy()


def together(table: pa.Table, keys: Sequence[str]) -> np.ndarray:
    """(rows,) an order in which rows of the same keys lie together."""
    return pc.sort_indices(table.select(keys), sort_keys=[(key, "ascending") for key in keys]).to_numpy()


def starts(columns: Sequence[np.ndarray]) -> np.ndarray:
    """(groups,) the first row of each group of rows that lie together with equal values."""
    rows = len(columns[0])
    new = np.zeros(max(rows - 1, 0), bool)
    for values in columns:
        new |= values[1:] != values[:-1]
    return np.concatenate([[0], np.flatnonzero(new) + 1]) if rows else np.zeros(0, np.int64)


def totals(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(groups,) sums of ``values`` (rows,) over the groups that begin at ``first``."""
    return np.add.reduceat(values, first, dtype=np.int64) if len(first) else np.zeros(0, np.int64)


def largest(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(groups,) the largest of ``values`` (rows,) in each group."""
    return np.maximum.reduceat(values, first) if len(first) else values[:0]

"""Counts per distinct answer, from which every score follows: one pass over the rows, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from cegppo_verl.errors import UserError
from cegppo_verl.records.grouping import codes, largest, starts, together, totals
from cegppo_verl.records.schema import KEY, SCHEMA
from cegppo_verl.records.table import Source, batches

GROUP = [*KEY, "extracted"]
COUNTED = ("correct", "truncated", "tokens")
SUMS = tuple(f"{name}_{how}" for name in COUNTED for how in ("sum", "count"))
NAMES = ("cell", "benchmark", "problem", "extracted")
MERGE_ROWS = 2_000_000  # partial counts held before they are merged


def votes(source: Source) -> pa.Table:
    """How often each answer was given.

    Returns:
        one row per (cell, seed, step, benchmark, problem, extracted) with ``rows``, ``last`` (largest sample
        index), and per column of ``COUNTED`` its ``<column>_sum`` and ``<column>_count`` without nulls. Names
        are dictionary-encoded, each dictionary sorted. Rows of a problem lie together.

    Raises:
        UserError: a table cannot be read, or rows are there twice (a file and its compacted copy).
    """
    encoder = _Codes()
    held: list[pa.Table] = []
    for piece in _partial(source, encoder):
        held.append(piece)
        if sum(map(len, held)) > max(MERGE_ROWS, 2 * len(held[0])):  # doubling: merging stays linear
            held = [_merged(held)]
    found = encoder.decoded(_merged(held or [_count(encoder.encoded(_nothing()))]))
    _refuse_twice(found)
    return found


class _Codes:
    """One number per name over all files, so that counting never compares text."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str | None, int]] = {name: {} for name in NAMES}

    def encoded(self, piece: pa.Table) -> pa.Table:
        for name in NAMES:
            place = piece.column_names.index(name)
            piece = piece.set_column(place, name, self._encode(name, piece[name]))
        return piece

    def _encode(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        known = self._known[name]
        chunks = []
        for chunk in column.chunks:
            parts = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            meaning = [known.setdefault(text, len(known)) for text in parts.dictionary.to_pylist()]
            chunks.append(pa.array(meaning, pa.int32()).take(parts.indices))
        return pa.chunked_array(chunks, pa.int32())

    def decoded(self, counts: pa.Table) -> pa.Table:
        for name in NAMES:
            texts = list(self._known[name])
            order = np.array(sorted(range(len(texts)), key=lambda code: texts[code] or ""), np.int32)
            rank = pa.array(np.argsort(order).astype(np.int32))
            indices = rank.take(counts[name].combine_chunks())
            column = pa.DictionaryArray.from_arrays(indices, pa.array([texts[c] for c in order], pa.string()))
            counts = counts.set_column(counts.column_names.index(name), name, column)
        return counts


def _partial(source: Source, encoder: _Codes) -> Iterator[pa.Table]:
    for piece in batches(source, (*GROUP, "sample", *COUNTED)):
        yield _count(encoder.encoded(piece))


def _nothing() -> pa.Table:
    return SCHEMA.empty_table().select([*GROUP, "sample", *COUNTED])


def _count(piece: pa.Table) -> pa.Table:
    wanted = [([], "count_all"), ("sample", "max")]
    wanted += [(name, how) for name in COUNTED for how in ("sum", "count")]
    counted = piece.group_by(GROUP).aggregate(wanted)
    return _small(counted, {"count_all": "rows", "sample_max": "last"})


def _merged(parts: list[pa.Table]) -> pa.Table:
    joined = pa.concat_tables(parts)
    order = together(joined, GROUP)
    first = starts([codes(joined[name])[order] for name in GROUP])
    columns = {name: codes(joined[name])[order[first]] for name in GROUP}
    columns["rows"] = totals(codes(joined["rows"])[order], first)
    columns["last"] = largest(codes(joined["last"])[order], first)
    columns |= {name: totals(codes(joined[name])[order], first) for name in SUMS}
    return _small(pa.table(columns), {})


def _small(counts: pa.Table, renamed: dict[str, str]) -> pa.Table:
    """The columns in one order, counts as 32-bit numbers: nobody answers one problem 2³¹ times in one way."""
    counts = counts.rename_columns([renamed.get(name, name) for name in counts.column_names])
    counts = counts.select([*GROUP, "rows", "last", *SUMS])
    wide = ("seed", "tokens_sum")
    kinds = [f.type if f.name in wide else pa.int32() for f in counts.schema]
    return counts.cast(pa.schema([pa.field(f.name, t) for f, t in zip(counts.schema, kinds, strict=True)]))


def _refuse_twice(found: pa.Table) -> None:
    first = starts([codes(found[name]) for name in KEY])
    rows, last = totals(codes(found["rows"]), first), largest(codes(found["last"]), first)
    twice = np.flatnonzero(rows > last + 1)
    if len(twice):
        row = found.slice(int(first[twice[0]]), 1).to_pylist()[0]
        place = f"cell {row['cell']}, step {row['step']}, {row['benchmark']}, problem {row['problem']}"
        counted = f"{rows[twice[0]]} rows with indices up to {last[twice[0]]}"
        hint = "do not read a table together with its compacted copy"
        raise UserError(f"samples are there twice: {place} has {counted}", hint=hint)

"""Counts per distinct answer, from which every score follows: one pass over the rows, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from cegppo_verl.errors import UserError
from cegppo_verl.records.schema import KEY
from cegppo_verl.records.table import Source, batches, plain_type

COUNTED = ("correct", "truncated", "tokens")
COLUMNS = (*KEY, "extracted", "sample", *COUNTED)
MERGE_ROWS = 4_000_000  # partial counts held before they are merged


def votes(source: Source) -> pa.Table:
    """How often each answer was given.

    Returns:
        one row per (cell, seed, step, benchmark, problem, extracted) with ``rows``, ``last`` (largest sample
        index), and per column of ``COUNTED`` its ``<column>_sum`` and ``<column>_count`` without nulls.

    Raises:
        UserError: a table cannot be read, or rows are there twice (a file and its compacted copy).
    """
    held: list[pa.Table] = []
    for piece in _partial(source):
        held.append(piece)
        if sum(map(len, held)) > max(MERGE_ROWS, 2 * len(held[0])):  # doubling: merging stays linear
            held = [_merged(held)]
    found = _merged(held) if held else _count(_empty())
    _refuse_twice(found)
    return found


def _partial(source: Source) -> Iterator[pa.Table]:
    for piece in batches(source, COLUMNS):
        yield _count(piece)


def _empty() -> pa.Table:
    return pa.table({name: pa.array([], plain_type(name)) for name in COLUMNS})


def _count(piece: pa.Table) -> pa.Table:
    wanted = [([], "count_all"), ("sample", "max")]
    wanted += [(name, how) for name in COUNTED for how in ("sum", "count")]
    counted = piece.group_by([*KEY, "extracted"]).aggregate(wanted)
    renamed = {"count_all": "rows", "sample_max": "last"}
    return counted.rename_columns([renamed.get(name, name) for name in counted.column_names])


def _merged(parts: list[pa.Table]) -> pa.Table:
    sums = ["rows", *(f"{name}_{how}" for name in COUNTED for how in ("sum", "count"))]
    joined = pa.concat_tables(parts).group_by([*KEY, "extracted"])
    merged = joined.aggregate([("last", "max"), *((name, "sum") for name in sums)])
    renamed = {"last_max": "last", **{f"{name}_sum": name for name in sums}}
    merged = merged.rename_columns([renamed.get(name, name) for name in merged.column_names])
    return merged.select(parts[0].column_names)


def _refuse_twice(found: pa.Table) -> None:
    problems = found.group_by(list(KEY)).aggregate([("rows", "sum"), ("last", "max")])
    twice = problems.filter(pc.greater(problems["rows_sum"], pc.add(problems["last_max"], 1)))
    if len(twice):
        row = twice.slice(0, 1).to_pylist()[0]
        place = f"cell {row['cell']}, step {row['step']}, {row['benchmark']}, problem {row['problem']}"
        rows, last = row["rows_sum"], row["last_max"]
        message = f"samples are there twice: {place} has {rows} rows with indices up to {last}"
        raise UserError(message, hint="do not read a table together with its compacted copy")

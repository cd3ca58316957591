"""The columns of ``samples.parquet``, one place for all who write or read them.

One row per (cell, seed, step, benchmark, problem, sample). Null means "not known", never 0 or false: a file
made elsewhere may know less than ours. Numbers are plain integers, so that ``avg(correct)`` is avg@k in
duckdb and in pandas alike.
"""

from __future__ import annotations

import pyarrow as pa

_NAME = pa.dictionary(pa.int32(), pa.string())  # a few distinct values, repeated very often

COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("cell", _NAME, "identity of the cell, 12 hex digits; 'imported-…' for a run that is not ours"),
    ("seed", pa.int64(), "training seed"),
    ("step", pa.int32(), "training steps taken before the evaluation; 0 is the base model"),
    ("benchmark", _NAME, "name of the benchmark"),
    ("problem", _NAME, "stable id of the problem, unique within the benchmark"),
    ("sample", pa.int32(), "0, 1, … within the problem, in the order of the source"),
    ("correct", pa.int8(), "1 right, 0 not right, null not graded"),
    ("outcome", _NAME, "correct, wrong, no_answer, timeout, grader_error or unknown"),
    ("extracted", pa.string(), "the answer found in the response; empty: none"),
    ("length", pa.int32(), "length of the response, characters"),
    ("tokens", pa.int32(), "length of the response, tokens of the model's tokenizer; null: not recorded"),
    ("truncated", pa.int8(), "1 cut at the longest allowed length, 0 ended by itself, null not recorded"),
    ("grader", _NAME, "grader and its version"),
    ("decoding", _NAME, "12 hex digits over how it was sampled (records/decoding.py); empty: not known"),
)

SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={"description": text}) for name, kind, text in COLUMNS],
    metadata={"cegppo.schema": "2"},
)

FRAME = {
    **{name: "category" for name, kind, _ in COLUMNS if pa.types.is_dictionary(kind)},
    **dict.fromkeys(("seed", "step", "sample", "length"), "int64"),
    **dict.fromkeys(("correct", "tokens", "truncated"), "float64"),
    "extracted": "str",
}
"""The pandas type of each column. Those that may be null are floats, NaN where null."""

KEY = ("cell", "seed", "step", "benchmark", "problem")
"""What names a problem of an evaluation; with ``sample``, a row."""

FILLED = (*KEY, "sample")
"""Never null."""


def names() -> list[str]:
    """The columns, in order."""
    return [name for name, _, _ in COLUMNS]

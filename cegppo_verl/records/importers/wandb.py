"""Exports of Weights & Biases: a run's history as CSV, parquet or JSON lines, or a chart's CSV.

Numbers only: an export has no samples. A chart's CSV names its columns "<run> - <key>", each with
"<key>__MIN" and "<key>__MAX" beside it; those two are left out.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cegppo_verl.errors import UserError
from cegppo_verl.records.importers.found import (
    Found,
    Options,
    Row,
    as_float,
    json_lines,
    one_of,
    require,
    whole_step,
)

STEPS = ("_step", "Step", "step", "global_step", "training/global_step", "trainer/global_step")
OWN = ("_timestamp", "_runtime", "_wandb")  # of W&B itself


def files(path: Path) -> list[Path]:
    """The export itself.

    Raises:
        UserError: it is a folder, or of another kind.
    """
    if not path.is_file() or path.suffix not in READERS:
        raise UserError("no W&B export", file=path, hint=f"name a file: {', '.join(READERS)}")
    return [path]


def read(path: Path, options: Options) -> Found:  # every importer has these arguments
    """Every number of the history, by step; of two rows of a step the later value of a key counts.

    Raises:
        UserError: no column of steps, a step that is no whole number, several runs, or a damaged file.
    """
    (file,) = files(path)
    found, skipped = Found(), set()
    for number, row in READERS[file.suffix](file):
        step, values = _split(file, number, row)
        numbers = {key: as_float(value) for key, value in values.items()}
        skipped |= {key for key, value in numbers.items() if value is None and values[key] not in (None, "")}
        kept = {key: value for key, value in numbers.items() if value is not None}
        if kept:
            found.metrics.setdefault(step, {}).update(kept)
    if skipped:
        found.notes.append(f"{len(skipped)} columns hold text in places: {', '.join(sorted(skipped)[:5])}")
    found.metrics = _one_run(file, found.metrics)
    return require(found, path, "numbers")


def _split(file: Path, number: int, row: Row) -> tuple[int, Row]:
    named = [key for key in STEPS if key in row]
    if not named:
        raise UserError(
            "no column of steps", file=file, key=f"row {number}", hint=f"one of: {', '.join(STEPS)}"
        )
    step = whole_step(row[named[0]], file, f"row {number}, {named[0]}")
    odd = ("__MIN", "__MAX")
    values = {k: v for k, v in row.items() if k and k != named[0] and not k.endswith(odd) and k not in OWN}
    return step, values


def _one_run(file: Path, metrics: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
    keys = {key for values in metrics.values() for key in values}
    if not keys or not all(" - " in key for key in keys):
        return metrics
    one_of({key.split(" - ")[0] for key in keys}, "run", file, "export the chart of one run")
    return {s: {k.split(" - ", 1)[1]: v for k, v in values.items()} for s, values in metrics.items()}


def _csv(file: Path) -> Iterator[tuple[int, Row]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, strict=True)
            for number, row in enumerate(reader, 2):
                if None in row or None in row.values():
                    raise UserError("has not as many cells as the head", file=file, key=f"row {number}")
                yield number, row
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"no readable CSV: {error}", file=file) from None


def _parquet(file: Path) -> Iterator[tuple[int, Row]]:
    try:
        with pq.ParquetFile(file) as table:
            flat = [f.name for f in table.schema_arrow if not pa.types.is_nested(f.type)]
            rows = [row for batch in table.iter_batches(columns=flat) for row in batch.to_pylist()]
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"no readable parquet: {error}", file=file) from None
    yield from enumerate(rows, 1)


READERS = {".csv": _csv, ".parquet": _parquet, ".jsonl": json_lines}

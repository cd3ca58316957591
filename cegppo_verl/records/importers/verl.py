"""verl's validation dumps: a folder of ``<step>.jsonl`` (``trainer.validation_data_dir``), or one of them."""

from __future__ import annotations

from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.records.importers.found import (
    Found,
    Options,
    Row,
    graded,
    json_lines,
    require,
    whole_step,
    zero_or_one,
)

VERDICTS = {"correct": 1.0, "wrong": 0.0, "no_answer": 0.0, "timeout": 0.0}


def files(path: Path) -> list[Path]:
    """The dumps, by step.

    Raises:
        UserError: none there.
    """
    found = [path] if path.is_file() else list(path.glob("*.jsonl"))
    dumps = [file for file in found if file.stem.isdecimal() and file.stem.isascii()]
    if not dumps:
        raise UserError("no verl dumps", file=path, hint="name the folder that holds 0.jsonl, 10.jsonl, …")
    return sorted(dumps, key=lambda file: int(file.stem))


def read(path: Path, options: Options) -> Found:
    """Every line becomes a sample; the verdict is ``acc``, else ``outcome``, else a ``score`` of 0/1 or ±1.

    Raises:
        UserError: no dumps, a line that is not one of verl's, or a step that differs from the file's name.
    """
    found = Found()
    for file in files(path):
        step = whole_step(file.stem, file, "name")
        if step in found.samples:
            raise UserError(f"step {step} is there twice", file=file)
        found.samples[step] = [_row(file, n, row, step, options) for n, row in json_lines(file)]
    return require(found, path, "samples")


def _row(file: Path, number: int, row: Row, step: int, options: Options) -> Row:
    key = f"line {number}"
    if not isinstance(row.get("input"), str) and row.get("problem_id") is None:
        raise UserError("no line of a verl dump: neither input nor problem_id", file=file, key=key)
    if row.get("step") is not None and whole_step(row["step"], file, key) != step:
        raise UserError(f"is of step {row['step']}, not {step}", file=file, key=key)
    benchmark = options.benchmark or row.get("benchmark") or row.get("data_source")
    kept = {**row, "benchmark": str(benchmark)} if benchmark else dict(row)
    kept["acc"] = _verdict(row)
    return graded(kept, options)


def _verdict(row: Row) -> float | None:
    for name in ("acc", "score"):
        if name == "score" and str(row.get("outcome")) in VERDICTS:
            return VERDICTS[str(row["outcome"])]
        verdict = zero_or_one(row.get(name))
        if verdict is not None:
            return verdict
    return None

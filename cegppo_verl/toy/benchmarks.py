"""Local benchmark files (verl's row format, JSONL or parquet), grouped into problems.

Validation files often repeat each problem k times to make verl average over k samples; verl then reports
k x problems separate "mean@1". Here rows with the same prompt become one problem, in order of first
appearance, and the number of samples is the evaluation's own setting. A file whose problems have ids of their
own (``cegppo data fetch``) keeps them; otherwise the position counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.toy.rows import Message, Row, user, verl_row

COLUMNS = ("prompt", "reward_model")
SPLITS = ("train", "test", "validation", "data")  # as names of files these say nothing


def benchmark_name(path: Path) -> str:
    """Name of the benchmark in a file: without what says how often it repeats ("aime24_x32" is "aime24").

    A file that is named after its split is called by its folder.
    """
    stem = path.absolute().parent.name if path.stem in SPLITS else path.stem
    words = re.sub(r"_x\d+$", "", stem.lower())
    return re.sub(r"[^a-z0-9.]+", "-", words).strip("-.") or "benchmark"


def read_benchmark(path: Path, name: str, extract: str = "boxed") -> list[Row]:
    """One verl row per problem, with the file's ``problem_id``, else "<name>/0", "<name>/1", ….

    Raises:
        UserError: the file is missing, empty, not in the format, or gives one prompt two different truths.
    """
    problems: dict[str, tuple[int, list[Message], str]] = {}
    ids: dict[str, str | None] = {}
    for number, row in _numbered_rows(path):
        messages, truth = _prompt(row, path, number), _truth(row, path, number)
        text = "\n".join(message["content"] for message in messages)
        first = problems.setdefault(text, (number, messages, truth))
        ids.setdefault(text, _own_id(row))
        if first[2] != truth:
            raise UserError(
                f"the prompt of row {first[0]} comes back with another ground truth ({first[2]} and {truth})",
                file=path,
                key=f"row {number}",
                hint="correct or remove one of the two rows",
            )
    if not problems:
        raise UserError(
            "the benchmark file has no rows", file=path, hint="give a file with at least one problem"
        )
    rows = [
        verl_row(name, i, messages, truth, ability="math", extract=extract)
        for i, (_, messages, truth) in enumerate(problems.values())
    ]
    if _has_ids(ids.values()):
        for row, own in zip(rows, ids.values(), strict=True):
            row["extra_info"]["problem_id"] = own
    return rows


def _has_ids(ids: Iterable[str | None]) -> bool:
    """Whether every problem has an id and no two the same."""
    given = list(ids)
    return None not in given and len(set(given)) == len(given)


def _own_id(row: dict[str, Any]) -> str | None:
    info = row.get("extra_info")
    own = info.get("problem_id") if isinstance(info, dict) else None
    return str(own) if own else None


def _numbered_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Rows with their numbers, counted from 1 (in JSONL: the line)."""
    if not path.is_file():
        hint = f"valid here: {', '.join(_neighbours(path)) or 'no benchmark files in this folder'}"
        raise UserError("benchmark file not found", file=path, hint=hint)
    if path.suffix == ".parquet":
        return list(enumerate(_parquet_rows(path), start=1))
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(i, _json_row(line, path, i)) for i, line in enumerate(lines, start=1) if line.strip()]


def _neighbours(path: Path) -> list[str]:
    known = (".jsonl", ".parquet")
    return sorted(p.name for p in path.parent.glob("*") if p.suffix in known)[:10]


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"not a parquet file: {error}", file=path, hint="write it again") from error


def _json_row(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(
            f"not JSON: {error}", file=path, key=f"row {number}", hint="one object per line"
        ) from None
    if not isinstance(row, dict):
        raise UserError("not a JSON object", file=path, key=f"row {number}", hint="one object per line")
    return row


def _column(row: dict[str, Any], column: str, path: Path, number: int) -> Any:
    if row.get(column) is None:
        raise UserError(
            f"column '{column}' is missing", file=path, key=f"row {number}", hint=did_you_mean(column, row)
        )
    return row[column]


def _prompt(row: dict[str, Any], path: Path, number: int) -> list[Message]:
    messages = _column(row, "prompt", path, number)
    if isinstance(messages, str):
        messages = user(messages)
    if not (isinstance(messages, list) and messages and all(map(_is_message, messages))):
        raise UserError(
            "the prompt is neither text nor a list of chat messages",
            file=path,
            key=f"row {number}: prompt",
            hint='write [{"role": "user", "content": "…"}]',
        )
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def _truth(row: dict[str, Any], path: Path, number: int) -> str:
    model = _column(row, "reward_model", path, number)
    truth = model.get("ground_truth") if isinstance(model, dict) else None
    if truth is None or not str(truth).strip():
        raise UserError(
            "reward_model.ground_truth is missing or empty",
            file=path,
            key=f"row {number}: reward_model.ground_truth",
            hint='write {"reward_model": {"style": "rule", "ground_truth": "42"}}',
        )
    return str(truth)

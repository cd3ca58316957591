"""lighteval's details: ``details_<task>_<time>.parquet``, one row per problem with all of its responses.

Columns: ``doc`` (query, choices, gold_index, id, task_name), ``model_response`` (text, output_tokens) and
``metric`` (a number per metric), each also known with two underscores on either side. The number of a problem
with several samples is a mean over them: which of them were right is told only by a mean of 0 or 1. The other
samples stay without a verdict, unless they are graded here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cegppo_verl.errors import UserError
from cegppo_verl.records.importers.found import Found, Options, Row, as_float, graded, one_of, require

COLUMNS = ("doc", "model_response", "metric")
MEANS = ("avg", "mean")  # in the name of a metric that is a mean over samples; pass@k of 1 is not "all right"


def files(path: Path) -> list[Path]:
    """The details of one evaluation, a file per task.

    Raises:
        UserError: none there.
    """
    found = [path] if path.is_file() else sorted(path.glob("details_*.parquet"))
    if not found:
        raise UserError("no details of lighteval", file=path, hint="name a folder of details_*.parquet")
    return found


def read(path: Path, options: Options) -> Found:
    """Every response becomes a sample of step ``options.step``.

    Raises:
        UserError: not lighteval's columns, several metrics and none named, one problem twice, or damage.
    """
    found = Found()
    seen: set[str] = set()
    rows = found.samples.setdefault(options.step, [])
    for file in files(path):
        for number, row in enumerate(_table(file)):
            problem = _problem(file, number, row, options)
            names = {sample["problem_id"] for sample in problem}
            if names & seen:
                raise UserError(f"problem {min(names)} is there twice", file=file)
            seen |= names
            rows += problem
    return require(found, path, "samples")


def _table(file: Path) -> list[dict[str, Row]]:
    try:
        names = pq.read_schema(file).names
        known = {c: n for c in COLUMNS for n in (c, f"__{c}__") if n in names}
        missing = [column for column in COLUMNS if column not in known]
        if missing:
            raise UserError(f"no details of lighteval: no column {', '.join(missing)}", file=file)
        rows = pq.read_table(file, columns=list(known.values())).to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"no readable parquet: {error}", file=file) from None
    return [{column: _part(file, row[name]) for column, name in known.items()} for row in rows]


def _part(file: Path, value: Any) -> Row:
    if not isinstance(value, dict):
        raise UserError("no details of lighteval: a column is no record", file=file)
    return value


def _problem(file: Path, number: int, row: dict[str, Row], options: Options) -> list[Row]:
    """The samples of one problem."""
    doc, response = row["doc"], row["model_response"]
    texts = response.get("text") or []
    tokens = response.get("output_tokens") or []
    benchmark = options.benchmark or _task(str(doc.get("task_name") or file.stem))
    known = {
        "input": str(doc.get("query") or ""),
        "gts": _truth(doc),
        "benchmark": benchmark,
        "problem_id": f"{benchmark}/{doc.get('id') or number}",
        "grader": f"lighteval:{_metric(file, row['metric'], options)}" if row["metric"] else "lighteval",
        "acc": _verdict(file, row["metric"], len(texts), options),
    }
    return [graded({**known, "output": str(t), **_tokens(tokens, i)}, options) for i, t in enumerate(texts)]


def _task(name: str) -> str:
    """``lighteval|aime24|0`` is aime24."""
    parts = name.split("|")
    return parts[1] if len(parts) > 2 else parts[0]


def _truth(doc: Row) -> str:
    gold, choices = doc.get("gold_index"), doc.get("choices") or []
    places = gold if isinstance(gold, list) else [gold]
    answers = [str(choices[i]) for i in places if isinstance(i, int) and 0 <= i < len(choices)]
    return json.dumps(answers) if len(answers) > 1 else "".join(answers)


def _tokens(tokens: list[Any], sample: int) -> Row:
    one = tokens[sample] if sample < len(tokens) else None
    return {"response_tokens": len(one)} if isinstance(one, list) and one else {}


def _metric(file: Path, metrics: Row, options: Options) -> str:
    if options.metric and options.metric not in metrics:
        hint = f"choose one of: {', '.join(sorted(metrics))}"
        raise UserError(f"no metric '{options.metric}'", file=file, hint=hint)
    known = [name for name, value in metrics.items() if as_float(value) is not None]
    return options.metric or one_of(known, "metric", file, "name it with --metric")


def _verdict(file: Path, metrics: Row, samples: int, options: Options) -> float | None:
    if options.grade is not None and not metrics:
        return None
    name = _metric(file, metrics, options)
    value = as_float(metrics[name])
    single = samples == 1 or any(word in name for word in MEANS)
    return value if single and value in (0.0, 1.0) else None

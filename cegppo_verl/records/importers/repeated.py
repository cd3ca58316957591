"""The authors' format with answers in it: JSON lines, every problem repeated k times, a response in each row.

Rows have ``prompt`` (messages or text), ``reward_model.ground_truth`` and a response; rows of the same prompt
are samples of one problem. A file without responses is a benchmark to be answered, and not a record.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.records.derived import sha256
from cegppo_verl.records.importers.found import Found, Options, Row, graded, json_lines, require, zero_or_one

RESPONSES = ("response", "output", "responses", "generated_text", "completion")
VERDICTS = ("acc", "correct", "is_correct", "score", "reward")


def files(path: Path) -> list[Path]:
    """The file itself.

    Raises:
        UserError: it is none.
    """
    if not path.is_file():
        raise UserError("no such file", file=path, hint="name a .jsonl file of repeated rows")
    return [path]


def read(path: Path, options: Options) -> Found:
    """Every row (or every response of a row that has a list of them) becomes a sample of ``options.step``.

    Raises:
        UserError: a row without prompt or response, or damage.
    """
    found = Found()
    benchmark = options.benchmark or path.stem.split("_x")[0].replace("_", "-")
    rows = found.samples.setdefault(options.step, [])
    for number, row in json_lines(files(path)[0]):
        rows += _samples(path, f"line {number}", row, benchmark, options)
    return require(found, path, "samples")


def _samples(path: Path, key: str, row: Row, benchmark: str, options: Options) -> list[Row]:
    prompt, responses = _prompt(path, key, row), _responses(path, key, row)
    truth = row["reward_model"].get("ground_truth") if isinstance(row.get("reward_model"), dict) else None
    known = {
        "input": prompt,
        "gts": str(row.get("ground_truth") if truth is None else truth),
        "benchmark": benchmark,
        "problem_id": str(row.get("problem_id") or f"{benchmark}/{sha256(prompt.encode())[:12]}"),
        "grader": str(row.get("grader") or "unknown"),
    }
    verdicts = _verdicts(row, len(responses))
    pairs = zip(responses, verdicts, strict=True)
    return [graded({**known, "output": text, "acc": acc}, options) for text, acc in pairs]


def _prompt(path: Path, key: str, row: Row) -> str:
    prompt = row.get("prompt")
    if isinstance(prompt, list):
        prompt = "\n".join(str(m.get("content")) for m in prompt if isinstance(m, dict))
    if not isinstance(prompt, str) or not prompt:
        raise UserError("a row without prompt", file=path, key=key)
    return prompt.encode("utf-8", "replace").decode()


def _responses(path: Path, key: str, row: Row) -> list[str]:
    name = next((name for name in RESPONSES if name in row), None)
    if name is None:
        hint = "a benchmark to be answered is data: see `cegppo data`"
        raise UserError(f"a row without response ({', '.join(RESPONSES)})", file=path, key=key, hint=hint)
    value = row[name]
    texts: list[Any] = value if isinstance(value, list) else [value]
    return [text if isinstance(text, str) else json.dumps(text) for text in texts]


def _verdicts(row: Row, samples: int) -> list[float | None]:
    value = next((row[name] for name in VERDICTS if row.get(name) is not None), None)
    several = value if isinstance(value, list) else [value]
    if len(several) != samples:
        return [None] * samples
    return [zero_or_one(one) for one in several]

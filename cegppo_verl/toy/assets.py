"""Models and data that we build, made when first asked for and kept (``toy.store`` has the rules).

Nothing here imports torch: models are built in a process of their own.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.toy import code, instruct, pick, words
from cegppo_verl.toy.benchmarks import read_benchmark
from cegppo_verl.toy.recipes import MODELS, SMOLLM2, model_recipe
from cegppo_verl.toy.rows import Row
from cegppo_verl.toy.store import Report, ensure, is_complete, place, say

TABLE = "data.parquet"
FORMAT = 1  # of the parquet rows; raise it when they change
Maker = Callable[[str, str, int, int], list[Row]]
TASKS: dict[str, tuple[Maker, int]] = {
    "pick": (pick.rows, pick.VERSION),
    "words": (words.rows, words.VERSION),
    "code-toy": (code.rows, code.VERSION),
    "instruct-toy": (instruct.rows, instruct.VERSION),
}


def model_place(name: str) -> Path:
    """The folder that a model has or will have.

    Raises:
        UserError: no such model.
    """
    if name not in MODELS:
        raise UserError(f"unknown model '{name}'", hint=did_you_mean(name, MODELS))
    return place("models", name, model_recipe(name))


def has_model(name: str) -> bool:
    """Whether the model is built already."""
    return is_complete(model_place(name))


def ensure_model(name: str, *, report: Report = say) -> Path:
    """The Hugging Face folder of toy-xs, toy-s, toy-m or smollm2-135m; built the first time (under a minute).

    Raises:
        UserError: no such model, a package it is made from is missing, or it cannot be built or written.
    """
    if not has_model(name) and name == SMOLLM2:
        from cegppo_verl.toy.smollm2 import gguf_file

        gguf_file()  # a missing package is reported here, not out of the child
    return ensure(
        "models", name, model_recipe(name), lambda folder: _build_model(name, folder, report), report
    )


def _build_model(name: str, folder: Path, report: Report) -> None:
    report(f"{name}: building the base model (once, under a minute on a quiet machine)")
    command = [sys.executable, "-m", "cegppo_verl.toy.build", name, str(folder)]
    code = subprocess.run(command, check=False).returncode
    if code:
        hint = f"the reason is above; try it alone: {' '.join(command[1:-1])} FOLDER"
        raise UserError(f"building the model '{name}' failed with exit code {code}", hint=hint)


def ensure_data(task: str, split: str, *, n: int | None = None, seed: int = 0, report: Report = say) -> Path:
    """A parquet file in verl's format.

    Args:
        task: one of TASKS for generated data; any name when ``split`` is a file.
        split: "train", "<task>-val", or the path of a local benchmark file (.jsonl or .parquet).
        n: number of problems; for a file the first ``n``, all of them when None.
        seed: draws the problems; a file has no seed. Train and validation are disjoint for all seeds.

    Raises:
        UserError: unknown task or split, too many problems asked for, or a bad benchmark file.
    """
    if split.endswith((".jsonl", ".parquet")):
        path = Path(split)
        return benchmark_from_file(path, path.stem, n=n, report=report)
    if n is None:
        raise UserError(f"'{task}' is generated: say how many problems", hint="pass n")
    name, recipe = _generated(task, split, n, seed)
    maker, half = TASKS[task][0], recipe["half"]
    rows = maker(half, name, n, seed) if not is_complete(place("data", name, recipe)) else []
    return _ensure_table(name, recipe, rows, report)


def data_place(task: str, split: str, n: int, seed: int = 0) -> Path:
    """The file that :func:`ensure_data` makes or has made of generated problems; builds nothing.

    Raises:
        UserError: unknown task or split.
    """
    return place("data", *_generated(task, split, n, seed)) / TABLE


def _generated(task: str, split: str, n: int, seed: int) -> tuple[str, dict[str, Any]]:
    """Name and recipe of a generated table."""
    half = _half(task, split)
    recipe = {"task": task, "version": TASKS[task][1], "half": half, "n": n, "seed": seed, "format": FORMAT}
    return (task if half == "train" else split), recipe


def _half(task: str, split: str) -> str:
    if task not in TASKS:
        raise UserError(f"no generator for task '{task}'", hint=did_you_mean(task, TASKS))
    halves = {"train": "train", f"{task}-val": "validation"}
    if split not in halves:
        raise UserError(f"task '{task}' has no split '{split}'", hint=did_you_mean(split, halves))
    return halves[split]


def benchmark_from_file(
    path: Path, name: str, *, n: int | None = None, extract: str = "boxed", report: Report = say
) -> Path:
    """A local benchmark file, grouped into problems, as a parquet file in verl's format.

    Args:
        path: JSONL or parquet with verl's columns ``prompt`` and ``reward_model``.
        name: benchmark name, the ``data_source`` of its rows.
        n: only the first ``n`` problems.
        extract: how an answer is found in a response: boxed, number or whole.

    Raises:
        UserError: the file is missing, empty or not in the format, or has fewer than ``n`` problems.
    """
    rows = read_benchmark(Path(path), name, extract)
    if n is not None and not 1 <= n <= len(rows):
        hint = f"ask for 1 to {len(rows)}"
        raise UserError(f"benchmark '{name}' has {len(rows)} problems, {n} asked for", file=path, hint=hint)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    recipe = {"benchmark": name, "sha256": digest, "n": n, "extract": extract, "format": FORMAT}
    if rows[0]["extra_info"]["problem_id"] != f"{name}/0":
        recipe["ids"] = "the file's"  # only then, so that tables made before keep their place
    return _ensure_table(name, recipe, rows[:n], report)


def _ensure_table(name: str, recipe: dict[str, Any], rows: list[Row], report: Report) -> Path:
    def write(folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), folder / TABLE)
        report(f"{name}: {len(rows)} problems written")

    return ensure("data", name, recipe, write, report) / TABLE

"""Millions of sample rows: written, compacted, aggregated to avg@k, pass@k and maj@k; beside it plain pandas.

The rows are those of a real study: cells × steps, each an evaluation of the paper's five benchmarks, one file
per evaluation. Each side runs in a fresh interpreter and is asked for its own most memory.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from cegppo_verl.bench.peak_memory import peak_megabytes
from cegppo_verl.records.schema import SCHEMA, names

BENCHMARKS = (
    ("aime24", 30, 32),
    ("aime25", 30, 32),
    ("hmmt25", 30, 32),
    ("amc23", 40, 32),
    ("math500", 500, 4),
)
EVALUATION_ROWS = sum(problems * samples for _, problems, samples in BENCHMARKS)
CELLS = 20
KS = (1, 4)
LIMITS = {"seconds": 30.0, "megabytes": 2000.0}


def evaluation(cell: int, step: int, rng: np.random.Generator) -> pa.Table:
    """One evaluation's rows, in the schema: half of the answers right, the wrong ones of three kinds."""
    count = EVALUATION_ROWS
    problem = np.concatenate([np.repeat(np.arange(p), k) for _, p, k in BENCHMARKS])
    benchmark = np.repeat(np.arange(len(BENCHMARKS)), [p * k for _, p, k in BENCHMARKS])
    sample = np.concatenate([np.tile(np.arange(k), p) for _, p, k in BENCHMARKS])
    answer = rng.choice(5, count, p=(0.5, 0.2, 0.15, 0.1, 0.05))
    columns = {
        "cell": _names(np.zeros(count, int), [f"{cell:012x}"]),
        "seed": np.full(count, cell % 5),
        "step": np.full(count, step),
        "benchmark": _names(benchmark, [name for name, _, _ in BENCHMARKS]),
        "problem": _names(problem, [f"p/{index}" for index in range(500)]),
        "sample": sample,
        "correct": (answer == 0).astype(np.int8),
        "outcome": _names(
            np.select([answer == 0, answer == 4], [0, 2], 1), ["correct", "wrong", "no_answer"]
        ),
        "extracted": pa.array(["204", "17", "1024", "\\frac{1}{2}", ""]).take(pa.array(answer)),
        "length": rng.integers(400, 90_000, count),
        "tokens": rng.integers(100, 32_768, count),
        "truncated": (answer == 4).astype(np.int8),
        "grader": _names(np.zeros(count, int), ["math-verify-0.9.0+1"]),
        "decoding": _names(np.zeros(count, int), ["0123456789ab"]),
    }
    return pa.table([pa.array(columns[n]).cast(SCHEMA.field(n).type) for n in names()], schema=SCHEMA)


def _names(codes: np.ndarray, values: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values))


def evaluations(rows: int) -> Iterator[tuple[str, pa.Table]]:
    """Name and rows of as many evaluations as it takes; ``rows`` in all."""
    rng = np.random.default_rng(0)
    for index in range(-(-rows // EVALUATION_ROWS)):
        piece = evaluation(index % CELLS, index // CELLS, rng)
        yield f"{index:06d}", piece.slice(0, min(EVALUATION_ROWS, rows - index * EVALUATION_ROWS))


def ours(folder: Path, rows: int) -> dict[str, Any]:
    """Write, compact, aggregate; seconds of each. Making the rows up is not counted."""
    from cegppo_verl.evaluation.scores import scores
    from cegppo_verl.records import table

    clock, whole = dict.fromkeys(("write", "compact", "aggregate"), 0.0), folder / "whole.parquet"
    (folder / "parts").mkdir()
    for name, piece in evaluations(rows):
        with _timed(clock, "write"):
            table.write(folder / "parts" / f"{name}.parquet", [piece])
    with _timed(clock, "compact"):
        table.compact(f"{folder}/parts/*.parquet", whole)
    with _timed(clock, "aggregate"):
        found = scores(whole, KS)
    return _result(clock, found)


def pandas(folder: Path, rows: int) -> dict[str, Any]:
    """The same rows with pandas alone: concat, to_parquet, groupby.

    It does less: no majority, no lengths, no check for rows that are there twice, no fsync.
    """
    import pandas as pd

    from cegppo_verl.stats.estimators import pass_at_k

    clock = dict.fromkeys(("write", "compact", "aggregate"), 0.0)
    for name, piece in evaluations(rows):
        frame = piece.to_pandas()
        with _timed(clock, "write"):
            frame.to_parquet(folder / f"{name}.parquet")
    with _timed(clock, "compact"):
        parts = sorted(folder.glob("*.parquet"))
        pd.concat([pd.read_parquet(p) for p in parts], ignore_index=True).to_parquet(folder / "whole")
    with _timed(clock, "aggregate"):
        key = ["cell", "seed", "step", "benchmark"]
        groups = pd.read_parquet(folder / "whole").groupby([*key, "problem"], observed=True)
        counts = groups["correct"].agg(["count", "sum"]).reset_index()
        counts["avg"] = counts["sum"] / counts["count"]
        for k in KS:
            counts[f"pass@{k}"] = pass_at_k(counts["count"].to_numpy(), counts["sum"].to_numpy(), k)
        values = ["avg", *(f"pass@{k}" for k in KS)]
        found = counts.groupby(key, observed=True)[values].mean().reset_index()
    return _result(clock, found)


@contextlib.contextmanager
def _timed(clock: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    clock[name] += time.perf_counter() - start


def _result(clock: dict[str, float], found: Any) -> dict[str, Any]:
    check = {name: float(found[name].mean()) for name in ("avg", *(f"pass@{k}" for k in KS))}
    memory = peak_megabytes()
    return {
        **clock,
        "seconds": sum(clock.values()),
        "megabytes": memory,
        "evaluations": len(found),
        "check": check,
    }


def side(name: str, rows: int) -> dict[str, Any]:
    """One side in an interpreter and a folder of its own."""
    program = f"import json, sys; from pathlib import Path; from cegppo_verl.bench import records as r; " \
        f"print(json.dumps(r.{name}(Path(sys.argv[1]), {rows})))"  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True
        )
    return json.loads(done.stdout.splitlines()[-1])


def main(console: Console, rows: int = 10_000_000, plain: bool = True) -> dict[str, Any]:
    """Measure and print; returns the numbers by side.

    Args:
        plain: whether the side of pandas is run too; it takes several times the memory.
    """
    found = {name: side(name, rows) for name in (("ours", "pandas") if plain else ("ours",))}
    shown = Table(
        "side", "write, s", "compact, s", "aggregate, s", "all, s", "most memory, MB", "evaluations"
    )
    shown.title = f"{rows:,} sample rows in {-(-rows // EVALUATION_ROWS):,} files; limits 30 s, 2000 MB"
    for name, r in found.items():
        clocks = [f"{r[part]:.1f}" for part in ("write", "compact", "aggregate", "seconds")]
        shown.add_row(name, *clocks, f"{r['megabytes']:.0f}", str(r["evaluations"]))
    console.print(shown)
    return found

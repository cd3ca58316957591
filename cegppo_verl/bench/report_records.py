"""Run directories of a large grid, as compact records: 1,000 steps × 40 metrics, two evaluations each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cegppo_verl.records import table
from cegppo_verl.records.anatomy import BINS, CLASSES, REGIONS
from cegppo_verl.records.derived import keep
from cegppo_verl.records.schema import SCHEMA, names

SCALES, SEEDS, STEPS = 2, 5, 1000
BENCHMARKS = (("aime24", 30, 32), ("aime25", 30, 32), ("amc23", 40, 32), ("math500", 450, 4))
ROWS = 2 * sum(problems * samples for _, problems, samples in BENCHMARKS)  # of a run
_LOGGED = ["actor/entropy", "actor/ppo_kl", "actor/grad_norm", "timing_s/step", "actor/lr"]
_LOGGED += ["training/rollout_probs_diff_mean", "response_length/mean"]
_COUNTS = ["tokens", "inside", *REGIONS, *CLASSES, *(f"{r}_lp" for r in REGIONS)]
_COUNTS += ["weight_abs", "weight_abs_outside", "ratio", "ratio_squared", *BINS[24:39]]
METRICS = (*_LOGGED, *(f"actor/anatomy/{name}" for name in _COUNTS))[:40]


def write(folder: Path, runs: int) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Write ``runs`` finished runs below ``folder``; yields each directory with its cell."""
    rng = np.random.default_rng(0)
    answers = _samples(rng)
    for number in range(runs):
        cell = _cell(number)
        place = folder / f"{cell['slug']}-{cell['id']}"
        place.mkdir(parents=True)
        (place / "cell.json").write_text(json.dumps(cell))
        (place / "manifest.json").write_text(json.dumps({"versions": {"verl": "0.9.1"}}))
        keep(place / "metrics.parquet", _metrics(rng))
        right = (rng.random(ROWS) < 0.3 + 0.3 * (number % 7) / 7).astype(np.int8)
        changed = {"cell": pa.array([cell["id"]] * ROWS), "seed": pa.array([cell["seed"]] * ROWS)}
        rows = {**answers, **changed, "correct": pa.array(right)}
        piece = pa.table([rows[n].cast(SCHEMA.field(n).type) for n in names()], schema=SCHEMA)
        keep(place / table.NAME, piece.to_pandas(), SCHEMA)
        yield place, cell


def _cell(number: int) -> dict[str, Any]:
    arm, seed = divmod(number // SCALES, SEEDS)
    scale = f"scale-{number % SCALES}"
    benchmarks = [{"name": name, "problems": p, "samples": k} for name, p, k in BENCHMARKS]
    return {
        "id": f"{number:012x}",
        "slug": f"arm-{arm}__{scale}__seed{seed}",
        "arm": f"arm-{arm}",
        "algorithm": "cegppo",
        "params": {"beta1": arm / 100, "beta2": 1.0, "epsilon_low": 0.2, "epsilon_high": 0.2 + arm / 1000},
        "scale": scale,
        "seed": seed,
        "settings": {"total_steps": STEPS, "eval": {"every": STEPS // 2, "benchmarks": benchmarks}},
    }


def _metrics(rng: np.random.Generator) -> pd.DataFrame:
    values = rng.random((STEPS, len(METRICS))) * 100 + 1
    values[:, METRICS.index("actor/anatomy/tokens")] = 1e5
    order = np.argsort(METRICS)
    codes = np.tile(np.arange(len(METRICS)), STEPS)
    keys = pd.Categorical.from_codes(codes, pd.Index(sorted(METRICS), dtype="str"))
    steps = np.repeat(np.arange(1, STEPS + 1), len(METRICS))
    columns = {"step": steps, "key": keys, "value": values[:, order].ravel()}
    return pd.DataFrame({**columns, "attempt": np.ones(len(steps), np.int64)})


def _samples(rng: np.random.Generator) -> dict[str, pa.Array]:
    """Every column of a run's two evaluations but cell, seed and verdict, which differ between runs."""
    once = ROWS // 2
    problem = np.concatenate([np.repeat(np.arange(p), k) for _, p, k in BENCHMARKS])
    sample = np.concatenate([np.tile(np.arange(k), p) for _, p, k in BENCHMARKS])
    benchmark = np.repeat([name for name, _, _ in BENCHMARKS], [p * k for _, p, k in BENCHMARKS])
    columns: dict[str, Any] = {
        "step": np.repeat([STEPS // 2, STEPS], once),
        "benchmark": np.tile(benchmark, 2),
        "problem": np.tile([f"p/{number}" for number in problem], 2),
        "sample": np.tile(sample, 2),
        "outcome": ["wrong"] * ROWS,
        "extracted": ["204"] * ROWS,
        "length": rng.integers(400, 90_000, ROWS),
        "tokens": rng.integers(100, 32_768, ROWS),
        "truncated": np.zeros(ROWS, np.int8),
        "grader": ["math-verify-0.9.0+1"] * ROWS,
        "decoding": ["0123456789ab"] * ROWS,
    }
    return {name: pa.array(column) for name, column in columns.items()}

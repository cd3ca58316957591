"""Time and memory of ``cegppo plan`` for very many cells, on a machine without torch or verl."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BLOCKED = ("ray", "tensordict", "torch", "transfer_queue", "transformers", "verl", "vllm")
ARMS = 50
GRID = """\
name: plan-benchmark
question: How long does it take to plan a grid of very many cells?
hypothesis: Ten thousand cells are planned in less than two seconds.
refuted_by: More than two seconds, or more than 500 MB.
scales: [toy-xs]
seeds: [{seeds}]
arms:
{arms}
"""
ARM = "  - {{name: beta-{i}, algorithm: cegppo, params: {{beta1: {value:g}, beta2: 1.0}}}}"
# A fresh interpreter: what it imports counts, and what it must not import is refused.
PROGRAM = """
import sys, time
start = time.perf_counter()
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} must not be imported here")
sys.meta_path.insert(0, Block())
import io, json
from pathlib import Path
from rich.console import Console
from cegppo_verl.bench.peak_memory import peak_megabytes
from cegppo_verl.launch import planning
imported = time.perf_counter()
grid, results = Path(sys.argv[1]), Path(sys.argv[2])
found = planning.plan(grid, None, None, results)
planned = time.perf_counter()
out = io.StringIO()
planning.show(grid, None, None, results, Console(file=out, width=80), check=False)
shown = time.perf_counter()
print(json.dumps({
    "cells": len(found.cells),
    "lines": out.getvalue().count(chr(10)),
    "import_seconds": imported - start,
    "plan_seconds": planned - imported,
    "show_seconds": shown - planned,
    "peak_megabytes": peak_megabytes(),
}))
"""


def measure(cells: int = 10_000, results: Path | None = None) -> dict[str, Any]:
    """Plan a grid of ``cells`` cells, :data:`ARMS` arms × seeds, in a process of its own.

    Args:
        results: folder of earlier runs; None: none, so that no cell has begun.

    Returns:
        cells, lines printed, seconds (import_seconds of the package; plan_seconds for load, expand, status,
        lint and cost; show_seconds for all that again and the tables; command_seconds = import + show, what a
        user waits for; process_seconds from start to exit, the planning twice), peak_megabytes.

    Raises:
        subprocess.CalledProcessError: planning failed, or imported what it must not.
    """
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "grid.yaml"
        grid.write_text(grid_text(cells))
        program = f"BLOCKED = {BLOCKED!r}\n{PROGRAM}"
        command = [sys.executable, "-c", program, str(grid), str(results or Path(folder) / "runs")]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    found["command_seconds"] = found["import_seconds"] + found["show_seconds"]
    return {**found, "process_seconds": time.perf_counter() - start}


def grid_text(cells: int) -> str:
    """A grid file of ``cells`` cells, rounded up to whole seeds of :data:`ARMS` arms."""
    seeds = ", ".join(str(seed) for seed in range(1, -(-cells // ARMS) + 1))
    arms = "\n".join(ARM.format(i=i, value=i / ARMS) for i in range(ARMS))
    return GRID.format(seeds=seeds, arms=arms)

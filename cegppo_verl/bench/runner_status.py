"""Time and memory of ``cegppo status`` for very many cells, the first time and when nothing is new."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cegppo_verl.bench.runner_plan import BLOCKED, grid_text
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.records import submission
from cegppo_verl.records.progress import Goal
from cegppo_verl.records.rundir import RunDir

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
from cegppo_verl.launch.verbs import status
from cegppo_verl.launch.board import Board
imported = time.perf_counter()
cells = status.expand(status.load_grid(Path(sys.argv[1])))
expanded = time.perf_counter()
states = status.Overview(Path(sys.argv[2])).look(status.wanted(cells))
looked = time.perf_counter()
board = Board()
board.begin(cells, states)
status.show(cells, states, board, Console(file=io.StringIO(), width=120), one_by_one=False)
shown = time.perf_counter()
print(json.dumps({
    "states": board.counts(),
    "import_seconds": imported - start,
    "expand_seconds": expanded - imported,
    "look_seconds": looked - expanded,
    "show_seconds": shown - looked,
    "command_seconds": shown - start,
    "cpu_seconds": time.process_time(),
    "peak_megabytes": peak_megabytes(),
}))
"""


def measure(
    cells: int = 10_000,
    done_share: float = 0.8,
    failed_share: float = 0.05,
    queued_share: float = 0.05,
    keys: int = 20,
    rounds: int = 3,
) -> dict[str, Any]:
    """Ask for the states of a grid of ``cells`` cells, each time in a process of its own.

    The tree is written first and not measured; the cells that are neither done, failed nor queued were never
    started.

    Args:
        keys: numbers per line of the metric logs (verl writes about 90).
        rounds: looks when nothing is new; the median counts.

    Returns:
        cells; cold (no cache, every log read whole) and warm (the files are as they were), each with states,
        import_seconds (the package), expand_seconds (the grid file), look_seconds (the states), show_seconds
        (the table), command_seconds (all that), cpu_seconds (user and system, the interpreter's start too),
        peak_megabytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        grid, results = Path(folder) / "grid.yaml", Path(folder) / "runs"
        grid.write_text(grid_text(cells))
        every = expand(load_grid(grid))
        for cell, state in zip(
            every, states(len(every), done_share, failed_share, queued_share), strict=False
        ):
            write_run(cell, results, state, keys)
        time.sleep(3)  # files that have just changed are not cached
        cold = _ask(grid, results)
        warm = sorted((_ask(grid, results) for _ in range(rounds)), key=lambda r: r["command_seconds"])
        return {"cells": len(every), "cold": cold, "warm": warm[rounds // 2]}


def states(count: int, done: float, failed: float, queued: float) -> Iterator[str]:
    """What the first cells are, in order; the rest was never started."""
    for state, share in (("done", done), ("failed", failed), ("queued", queued)):
        yield from [state] * round(count * share)


def write_run(cell: Cell, results: Path, state: str, keys: int) -> None:
    """A run directory as verl and the runner leave it, without what a status does not look at."""
    run, content = RunDir(results / cell.grid / cell.run_name), cell_json(cell)
    goal = Goal.of(content)
    run.validation.mkdir(parents=True)
    run.cell_file.write_text(json.dumps(content))
    if state == "queued":
        text = {
            "name": f"cegppo-{cell.id}-1",
            "number": 1,
            "executor": "slurm",
            "submitted": submission.now(),
        }
        (run.path / submission.FILE).write_text(json.dumps({**text, "job": "7"}))
        return
    attempt = run.new_attempt()
    last = goal.total if state == "done" else goal.total // 2
    attempt.metrics_file.write_text("".join(_line(step, keys) for step in range(1, last + 1)))
    outcome = {"outcome": "completed"} if state == "done" else {"outcome": "failed", "cause": "out of memory"}
    record = {"number": 1, "resumed_from": 0, "seconds": 100.0, "host": "node", "pid": 1, "executor": "slurm"}
    attempt.record_file.write_text(json.dumps({**record, **outcome}))
    if state == "done" and goal.evaluation is not None:
        (run.validation / f"{goal.evaluation}.jsonl").write_text("{}\n" * max(goal.samples, 1))
    run.lock_file.touch()


def _line(step: int, keys: int) -> str:
    data = {f"actor/some_metric_{i}": step + i / 7 for i in range(keys)}
    data |= {"actor/entropy": 1 / step, "training/global_step": step, "timing_s/step": 3.5}
    return json.dumps({"step": step, "data": data}) + "\n"


def _ask(grid: Path, results: Path) -> dict[str, Any]:
    command: Sequence[str] = [
        sys.executable,
        "-c",
        f"BLOCKED = {BLOCKED!r}\n{PROGRAM}",
        str(grid),
        str(results),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found

"""From a command to the first finished step, and seconds per step: plain verl against ``cegppo run``.

Both sides train toy-s on "pick" with the same model, data, batch, updates and initial evaluation, one after
the other in one call. The plain side is ``python -m verl.trainer.main_ppo`` with ``plain_verl.args``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import jobs, processes
from cegppo_verl.launch.follow import memory_pause
from cegppo_verl.launch.machine_lock import machine_to_itself
from cegppo_verl.launch.planning import load
from cegppo_verl.records.progress import LoggedStep, is_training_step, read_steps
from cegppo_verl.records.rundir import Attempt, read_json

STEPS = 4
ARGUMENTS = Path(__file__).with_name("plain_verl.args")
GRID = """\
name: startup-benchmark
question: How long until the first finished step, and how long is a step?
hypothesis: Warm interpreters and grouped rollouts make both several times shorter.
refuted_by: A ratio above 0.65 to the first step, or 0.6 for a step.
scales: [toy-s]
seeds: [1]
arms:
  - {name: first, algorithm: grpo, params: {epsilon: 0.2}}
  - {name: second, algorithm: cegppo, params: {beta1: 0.5, beta2: 1.0}}
settings: {total_steps: 4, eval: {every: 100}, checkpoint: {every: 100}}
"""
# As the recipe had it: none of the variables that our own environment adds for speed.
PLAIN_ENVIRONMENT = {
    "VERL_PLATFORM": "cpu",
    "VERL_ENGINE_DEVICE": "cuda",
    "RAY_DEDUP_LOGS": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HYDRA_FULL_ERROR": "1",
    "RAY_AUTH_MODE": "token",
}


@dataclass(frozen=True)
class Measurement:
    """One run.

    Attributes:
        first_step: seconds from the command (or the start of the cell) to the first logged training step.
        step: median seconds of the later steps, ``timing_s/step``.
        memory: peak of the process tree in bytes, shared pages counted once.
    """

    first_step: float
    step: float
    memory: int


def main(console: Console, rounds: int = 1, out: Path | None = None) -> None:
    """Measure ``rounds`` times, alternating, and print medians and ratios."""
    with tempfile.TemporaryDirectory(prefix="cegppo-startup-") as folder:
        grid = Path(folder) / "startup.yaml"
        grid.write_text(GRID)
        cells = load(grid, None, None)[1]
        inputs = jobs.build_inputs(cells[0])
        found: dict[str, list[Measurement]] = {"plain": [], "first cell": [], "second cell": []}
        for index in range(rounds):
            with machine_to_itself():
                found["plain"].append(plain(cells[0], inputs, Path(folder) / f"plain{index}"))
            first, second = ours(grid, cells, Path(folder) / f"ours{index}")
            found["first cell"].append(first)
            found["second cell"].append(second)
    console.print(table(found))
    if out is not None:
        out.write_text(json.dumps({k: [asdict(m) for m in v] for k, v in found.items()}, indent=1) + "\n")


def plain(cell: Cell, inputs: jobs.Inputs, folder: Path) -> Measurement:
    """verl's own entry point with the untuned recipe."""
    folder.mkdir()
    metrics, mark = folder / "metrics.jsonl", f"bench-{os.getpid()}-{folder.name}"
    environment = {
        **os.environ,
        **PLAIN_ENVIRONMENT,
        "VERL_FILE_LOGGER_PATH": str(metrics),
        processes.MARK: mark,
    }
    command = [sys.executable, "-m", "verl.trainer.main_ppo", *plain_arguments(cell, inputs, folder)]
    started = time.monotonic()
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        first, memory = watch(process, metrics, mark, started)
    finally:
        processes.end(processes.with_descendants(processes.marked(mark)), grace=5)
    return Measurement(first, step_seconds(read_steps(metrics)), memory)


def plain_arguments(cell: Cell, inputs: jobs.Inputs, folder: Path) -> list[str]:
    """``plain_verl.args`` filled in."""
    s = cell.settings
    values = {
        "steps": STEPS,
        "folder": folder,
        "train": inputs.train[0],
        "val": inputs.val[0],
        "model": inputs.model,
        "prompt_length": s.max_prompt_length,
        "response_length": s.max_response_length,
        "batch": s.train_batch_size,
        "mini_batch": s.mini_batch_size,
        "micro_batch": s.micro_batch_size,
        "epochs": s.ppo_epochs,
        "rollouts": s.rollouts_per_prompt,
        "learning_rate": s.learning_rate,
        "reward": jobs.PACKAGE / "verl_plugin" / "reward.py",
    }
    lines = [line for line in ARGUMENTS.read_text().splitlines() if line and not line.startswith("#")]
    return [line.format(**values) for line in lines]


def watch(process: subprocess.Popen[bytes], metrics: Path, mark: str, started: float) -> tuple[float, int]:
    """Wait for the end; return seconds to the first training step and the peak memory in bytes."""
    first, memory, next_look = None, 0, 0.0
    while process.poll() is None:
        if first is None and any(map(is_training_step, read_steps(metrics))):
            first = time.monotonic() - started
        if time.monotonic() >= next_look:  # as seldom as the other side
            used = time.thread_time()
            memory = max(memory, processes.proportional_memory(tree(mark)))
            next_look = time.monotonic() + memory_pause(time.thread_time() - used)
        time.sleep(0.2)
    if first is None:
        raise RuntimeError(f"plain verl logged no step; see {metrics.with_name('log.txt')}")
    return first, memory


def tree(mark: str) -> list:
    """All processes of a marked run."""
    return processes.with_descendants(processes.marked(mark))


def step_seconds(steps: list[LoggedStep]) -> float:
    """Median seconds per step without the first, which pays for what is imported late."""
    times = [s.data["timing_s/step"] for s in steps if is_training_step(s)]
    return statistics.median(times[1:])


def ours(grid: Path, cells: list[Cell], results: Path) -> tuple[Measurement, Measurement]:
    """``cegppo run`` on a grid of two cells."""
    command = [sys.executable, "-m", "cegppo_verl.cli", "run", str(grid), "--results", str(results)]
    starts: list[float] = []
    firsts: list[float] = []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    started = time.monotonic()
    attempts = [Attempt(1, results / c.grid / c.run_name / "attempts" / "001") for c in cells]
    while process.poll() is None:
        for index, attempt in enumerate(attempts):
            if len(starts) == index and attempt.path.exists():
                starts.append(started if index == 0 else time.monotonic())
            if len(firsts) == index and any(map(is_training_step, read_steps(attempt.metrics_file))):
                firsts.append(time.monotonic() - starts[index])
        time.sleep(0.1)
    first, second = (_ours(seconds, a) for seconds, a in zip(firsts, attempts, strict=True))
    return first, second


def _ours(seconds: float, attempt: Attempt) -> Measurement:
    record = read_json(attempt.record_file) or {}
    return Measurement(seconds, step_seconds(read_steps(attempt.metrics_file)), record["peak_memory_bytes"])


def table(found: dict[str, list[Measurement]]) -> Table:
    """Medians and ratios to the plain side."""
    shown = Table("side", "first step, s", "×", "step, s", "×", "peak memory, GiB", title="medians")
    base = found["plain"]
    for side, runs in found.items():
        first, step = (median([getattr(r, k) for r in runs]) for k in ("first_step", "step"))
        ratios = [first / median([r.first_step for r in base]), step / median([r.step for r in base])]
        memory = max(r.memory for r in runs) / 2**30
        shown.add_row(
            side, f"{first:.1f}", f"{ratios[0]:.2f}", f"{step:.2f}", f"{ratios[1]:.2f}", f"{memory:.1f}"
        )
    return shown


def median(values: list[float]) -> float:
    """Median of one or more values."""
    return float(statistics.median(values))

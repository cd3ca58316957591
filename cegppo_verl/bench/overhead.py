"""What watching costs: seconds per step of a real cell under ``cegppo run``, and of its command by itself.

    cegppo bench overhead [--rounds 2] [--steps 16]

Both sides execute the same command, the one that ``cegppo run --dry-run`` prints, with cold interpreters; one
of them in a shell, with nobody looking on. So the difference is the runner, the node side, its heartbeat and
its reading of the records. What the losses' own counts cost is another matter: ``cegppo bench loss``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import jobs, processes, tasks
from cegppo_verl.launch.machine_lock import machine_to_itself
from cegppo_verl.launch.planning import load
from cegppo_verl.records.progress import is_training_step, read_steps
from cegppo_verl.records.rundir import Attempt

GRID = """\
name: overhead-{number}
question: What does it cost to be watched by the harness?
hypothesis: At most two per cent of a step's time.
refuted_by: More than two per cent, beyond what two runs of one command differ by.
scales: [toy-s]
seeds: [1]
arms:
  - {{name: grpo, algorithm: grpo, params: {{epsilon: 0.2}}}}
settings: {{total_steps: {steps}, eval: {{every: 1000}}, checkpoint: {{every: 1000}}}}
"""


def main(console: Console, rounds: int = 2, steps: int = 16) -> None:
    """Measure both sides alternately and print medians over all steps but each run's first."""
    times: dict[str, list[float]] = {"by itself": [], "under cegppo run": []}
    with tempfile.TemporaryDirectory(prefix="cegppo-overhead-") as folder:
        for number in range(rounds):
            grid = Path(folder) / f"grid{number}.yaml"
            grid.write_text(GRID.format(number=number, steps=steps))
            cell = load(grid, None, None)[1][0]
            jobs.build_inputs(cell)
            times["by itself"] += alone(cell, Path(folder) / f"alone{number}")
            times["under cegppo run"] += watched(grid, cell, Path(folder) / f"watched{number}")
    console.print(table(times))


def alone(cell: Cell, results: Path) -> list[float]:
    """The command in a shell; seconds of its steps."""
    attempt = _attempt(cell, results)
    (command,) = tasks.dry_run([cell], results)  # before the folder: with it, this would be a second attempt
    attempt.path.mkdir(parents=True)
    mark = f"overhead-{os.getpid()}-{results.name}"
    with machine_to_itself(), (attempt.path / "log.txt").open("wb") as log:
        try:
            subprocess.run(
                ["bash", "-c", command.replace("python -m", f"{sys.executable} -m", 1)],
                env={**os.environ, processes.MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        finally:
            processes.end(processes.with_descendants(processes.marked(mark)), grace=5)
    return _seconds(attempt)


def watched(grid: Path, cell: Cell, results: Path) -> list[float]:
    """``cegppo run --no-warm``; seconds of its steps."""
    command = [sys.executable, "-m", "cegppo_verl.cli", "run", str(grid), "--no-warm"]
    command += ["--results", str(results)]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return _seconds(_attempt(cell, results))


def _attempt(cell: Cell, results: Path) -> Attempt:
    return Attempt(1, results / cell.grid / cell.run_name / "attempts" / "001")


def _seconds(attempt: Attempt) -> list[float]:
    steps = [s.data["timing_s/step"] for s in read_steps(attempt.metrics_file) if is_training_step(s)]
    if len(steps) < 2:
        log = attempt.path / "log.txt"  # its folder is deleted on the way out
        said = log.read_text(errors="replace")[-4000:] if log.exists() else "no log was written"
        raise RuntimeError(f"{len(steps)} training steps were logged, 2 are needed; the log's end:\n{said}")
    return steps[1:]  # the first pays for what is imported late


def table(times: dict[str, list[float]]) -> Table:
    """Medians, their quartiles, and the ratio to the command by itself."""
    drawn = Table(title="seconds per step, toy-s")
    for title in ("side", "steps", "median", "quartiles", "×"):
        drawn.add_column(title, justify="left" if title == "side" else "right")
    base = statistics.median(next(iter(times.values())))
    for side, seconds in times.items():
        low, middle, high = statistics.quantiles(seconds, n=4)
        ratio = f"{statistics.median(seconds) / base:.3f}"
        drawn.add_row(side, str(len(seconds)), f"{middle:.2f}", f"{low:.2f} to {high:.2f}", ratio)
    return drawn

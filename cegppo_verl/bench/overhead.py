"""What watching costs: seconds per step of a real cell under ``cegppo run``, and of its command by itself.

    cegppo bench overhead [--rounds 2] [--steps 16]

Both sides execute the same command, the one that ``cegppo run --dry-run`` prints, with cold interpreters; one
of them in a shell, with nobody looking on. So the difference is the runner, the node side, its heartbeat and
its reading of the records, and this benchmark's own looks at those two. What the losses' own counts cost is
another matter: ``cegppo bench loss``.

Steps scatter by more than what is looked for. So the processor time of runner and node side is measured, too,
from the first step to the last: what these processes do not use they cannot take from the run.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import jobs, processes, tasks
from cegppo_verl.launch.machine_lock import machine_to_itself
from cegppo_verl.launch.planning import load
from cegppo_verl.records.progress import is_training_step, read_steps
from cegppo_verl.records.rundir import Attempt

LOOK_SECONDS = 5.0  # a look costs 10 ms of a core, on the watched side only
NODE_SIDE = "cegppo_verl.launch.node"
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
    meters: list[Meter] = []
    with tempfile.TemporaryDirectory(prefix="cegppo-overhead-") as folder:
        for number in range(rounds):
            grid = Path(folder) / f"grid{number}.yaml"
            grid.write_text(GRID.format(number=number, steps=steps))
            cell = load(grid, None, None)[1][0]
            jobs.build_inputs(cell)
            times["by itself"] += alone(cell, Path(folder) / f"alone{number}")
            meters.append(Meter(_attempt(cell, Path(folder) / f"watched{number}").metrics_file, steps))
            times["under cegppo run"] += watched(grid, cell, Path(folder) / f"watched{number}", meters[-1])
    console.print(table(times))
    shares = ", ".join(f"{100 * meter.share:.2f} %" for meter in meters)
    console.print(f"processor time of runner and node side, of one core, first to last step: {shares}")


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


def watched(grid: Path, cell: Cell, results: Path, meter: Meter) -> list[float]:
    """``cegppo run --no-warm``; seconds of its steps."""
    command = [sys.executable, "-m", "cegppo_verl.cli", "run", str(grid), "--no-warm"]
    command += ["--results", str(results)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as runner:
        while runner.poll() is None:
            meter.look(psutil.Process(runner.pid))
            time.sleep(LOOK_SECONDS)
    if runner.returncode:
        raise subprocess.CalledProcessError(runner.returncode, command)
    return _seconds(_attempt(cell, results))


@dataclass
class Meter:
    """Processor time of runner and node side while a run makes its steps.

    Args:
        log: the attempt's metrics. steps: how many there will be.
    """

    log: Path
    steps: int
    points: list[tuple[float, float]] = field(default_factory=list)

    def look(self, runner: psutil.Process) -> None:
        """Note clock and processor time, between the first step and the last."""
        done = sum(is_training_step(s) for s in read_steps(self.log)) if self.log.exists() else 0
        if 1 <= done < self.steps:
            with contextlib.suppress(psutil.Error):  # one of them has just ended
                self.points = [*self.points[:1], (time.monotonic(), processor_seconds(runner))]

    @property
    def share(self) -> float:
        """Of one core; NaN where there were not two looks."""
        if len(self.points) < 2:
            return float("nan")
        (start, before), (end, after) = self.points
        return (after - before) / (end - start)


def processor_seconds(runner: psutil.Process) -> float:
    """Of the runner and of node sides below it, without the run that these started."""
    nodes = [p for p in processes.descendants(runner.pid) if NODE_SIDE in _command(p)]
    return sum(sum(p.cpu_times()[:2]) for p in (runner, *nodes))


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


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

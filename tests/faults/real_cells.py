"""Faults at random moments of real verl cells: Ray, FSDP, vLLM on the CPU, one cell of toy-xs per fault.

``python tests/faults/real_cells.py --seed 1`` injects each fault once, at a random step, and lets the same
command finish the cell; about a minute each on two cores. The promises are those of promises.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.promises import BrokenError, Witness, words

import cegppo_verl
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.launch import processes

STEPS, PROBLEMS, PATIENCE, MOST_RUNS = 4, 16, 600.0, 4
GRID = f"""\
name: real-faults
question: Does a real cell survive a fault at a random moment?
hypothesis: Every recorded step stays, and the same command finishes the cell.
refuted_by: A step that is lost or doubled, or a cell that is called done and is not.
scales: [toy-xs]
seeds: [1]
settings:
  total_steps: {STEPS}
  eval:
    every: {STEPS}
    at_start: false
    benchmarks: [{{name: pick-val, samples: 1, problems: {PROBLEMS}}}]
  checkpoint: {{every: 1}}
arms:
  - {{name: cegppo, algorithm: cegppo, params: {{beta1: 0.5, beta2: 1.0}}}}
"""


class Scene:
    """One cell and its runners."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng, self.results = folder, rng, folder / "results"
        self.grid = folder / "grid.yaml"
        self.grid.write_text(GRID)
        self.witness = Witness(expand(load_grid(self.grid)), self.results, PROBLEMS)
        self.runners: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """``cegppo run`` in a session of its own."""
        command = [sys.executable, "-m", "cegppo_verl.cli", "run", str(self.grid), "--retries", "3"]
        environment = {**os.environ, "PYTHONPATH": str(Path(cegppo_verl.__file__).parents[1])}
        with (self.folder / "runner.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--results", str(self.results)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.runners.append(process)
        return process

    def until(self, condition: Callable[[], bool]) -> None:
        """Look on until it holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.witness.look()
            if time.monotonic() > deadline:
                raise BrokenError(f"nothing happened within {PATIENCE:.0f} s: {self.said()}")
            time.sleep(0.3)
        self.witness.look()

    def said(self) -> str:
        """The end of what the runners said."""
        return (self.folder / "runner.log").read_text(errors="replace")[-800:]

    def at_some_step(self) -> int:
        """Start, and wait for a random moment after a random step; the step."""
        process, step = self.start(), self.rng.randint(1, STEPS - 1)
        self.until(lambda: process.poll() is not None or self.witness.logged() >= step)
        time.sleep(self.rng.uniform(0, 2))
        return step

    def finish(self) -> int:
        """The same command until it succeeds; how many runners there were in all."""
        self.until(lambda: all(p.poll() is not None for p in self.runners))
        while self.runners[-1].returncode != 0:
            if len(self.runners) > MOST_RUNS:
                raise BrokenError(f"not finished after {len(self.runners)} runs: {self.said()}")
            process = self.start()
            self.until(lambda p=process: p.poll() is not None)  # type: ignore[misc]
        return len(self.runners)

    def close(self) -> None:
        """End what is left."""
        for process in self.runners:
            if process.poll() is None:
                process.kill()
            process.wait()
        left = [*self.witness.nodes(), *self.witness.processes()]
        processes.end(processes.with_descendants(left), grace=1.0)

    # --- victims

    def named(self, name: str) -> list[psutil.Process]:
        """Ray's own daemons, by the name of their program."""
        return [p for p in self.witness.processes() if _name(p) == name]

    def actors(self, pattern: str) -> list[psutil.Process]:
        """Ray actors by class: a worker's log bears its process id, and its first line the class."""
        raylets = [
            word for p in self.named("raylet") for word in words(p) if word.startswith("--session_dir=")
        ]
        logs = [f for r in raylets for f in Path(r.partition("=")[2], "logs").glob("worker-*.out")]
        found = [f for f in logs if re.search(rf":actor_name:{pattern}", f.read_text(errors="replace"))]
        return [
            psutil.Process(pid) for f in found if psutil.pid_exists(pid := int(f.stem.rpartition("-")[2]))
        ]

    def strike(self, victims: list[psutil.Process], number: signal.Signals = signal.SIGKILL) -> str:
        """A signal to one of them."""
        if not victims:
            raise BrokenError("no victim was found: the fault was not injected")
        victim = self.rng.choice(victims)
        with_name = f"{_name(victim)} {victim.pid}"
        victim.send_signal(number)
        return with_name


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def driver(s: Scene) -> str:
    """SIGKILL to verl's task runner, the driver's actor."""
    s.at_some_step()
    return s.strike(s.actors(".*TaskRunner"))


def worker(s: Scene) -> str:
    """SIGKILL to the FSDP worker."""
    s.at_some_step()
    return s.strike(s.actors("WorkerDict"))


def server(s: Scene) -> str:
    """SIGKILL to vLLM's HTTP server."""
    s.at_some_step()
    return s.strike(s.actors("vLLMHttpServer"))


def reward(s: Scene) -> str:
    """SIGKILL to a reward worker."""
    s.at_some_step()
    return s.strike(s.actors("RewardLoopWorker"))


def queue(s: Scene) -> str:
    """SIGKILL to TransferQueue's storage."""
    s.at_some_step()
    return s.strike(s.actors("SimpleStorageUnit"))


def raylet(s: Scene) -> str:
    """SIGKILL to the raylet: the node is lost to Ray."""
    s.at_some_step()
    return s.strike(s.named("raylet"))


def head(s: Scene) -> str:
    """SIGKILL to Ray's head (its global control store)."""
    s.at_some_step()
    return s.strike(s.named("gcs_server"))


def runner(s: Scene) -> str:
    """SIGKILL to ``cegppo run``."""
    s.at_some_step()
    s.runners[-1].kill()
    return "cegppo run"


def starting(s: Scene) -> str:
    """SIGKILL to ``cegppo run`` while verl starts."""
    s.start()
    s.until(lambda: bool(s.named("raylet")))
    time.sleep(s.rng.uniform(0, 5))
    s.runners[-1].kill()
    return "cegppo run"


def node_side(s: Scene) -> str:
    """SIGKILL to the node side, everything that it started left behind."""
    s.at_some_step()
    return s.strike([p for p in s.witness.nodes() if "cegppo_verl.launch.node" in words(p)])


def preempted(s: Scene) -> str:
    """SIGTERM to the node side, as a scheduler sends it."""
    s.at_some_step()
    victims = [p for p in s.witness.nodes() if "cegppo_verl.launch.node" in words(p)]
    return s.strike(victims, signal.SIGTERM)


def interrupted(s: Scene) -> str:
    """Ctrl-C twice."""
    s.at_some_step()
    for _ in range(2):
        s.runners[-1].send_signal(signal.SIGINT)
        time.sleep(0.2)
    return "cegppo run"


def everything(s: Scene) -> str:
    """SIGKILL to every process at once, and the last line of the metric log torn."""
    s.at_some_step()
    victims = [*s.witness.nodes(), *s.witness.processes(), psutil.Process(s.runners[-1].pid)]
    for victim in victims:
        try:
            victim.kill()
        except psutil.Error:
            continue
    s.runners[-1].wait()
    for run in s.witness.dirs():
        with run.attempts()[-1].metrics_file.open("ab") as file:
            file.write(b'{"step": 9, "da')
    return f"{len(victims)} processes"


FAULTS: tuple[Callable[[Scene], str], ...] = (
    *(driver, worker, server, reward, queue, raylet, head),
    *(runner, starting, node_side, preempted, interrupted, everything),
)


@dataclass
class Outcome:
    """What came of one fault."""

    fault: str
    what: str
    victim: str = ""
    seconds: float = 0.0
    runners: int = 0
    causes: list[str] = field(default_factory=list)
    broken: str | None = None


def strike(fault: Callable[[Scene], str], seed: int) -> Outcome:
    """One cell from beginning to end."""
    folder = Path(tempfile.mkdtemp(prefix="cegppo-real-"))
    scene = Scene(folder, random.Random(seed))
    made, started = Outcome(fault.__name__, (fault.__doc__ or "").rstrip(".")), time.monotonic()
    try:
        made.victim = fault(scene)
        made.runners = scene.finish()
        scene.witness.verify()
        made.causes = scene.witness.causes()
    except BrokenError as error:
        made.broken = str(error)
    finally:
        made.seconds = round(time.monotonic() - started, 1)
        scene.close()
        if made.broken is None:
            shutil.rmtree(folder, ignore_errors=True)
    return made


def table(outcomes: list[Outcome]) -> str:
    """Markdown: one row per fault."""
    lines = ["| fault | cause on record | runs of the command | held |", "| --- | --- | --- | --- |"]
    for o in outcomes:
        causes = "; ".join(o.causes) or "–"
        lines.append(f"| {o.what} | {causes} | {o.runners} | {'no' if o.broken else 'yes'} |")
    return "\n".join(lines)


def main() -> int:
    """Every fault once; exit code 1 when a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="these faults only")
    arguments = parser.parse_args()
    outcomes = []
    for index, fault in enumerate(FAULTS):
        if arguments.only and fault.__name__ not in arguments.only:
            continue
        outcomes.append(strike(fault, arguments.seed * 1000 + index))
        print(json.dumps(asdict(outcomes[-1])), flush=True)
    print(table(outcomes))
    return int(any(o.broken for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())

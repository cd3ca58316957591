"""A grid of twelve real cells on a real cluster, everything killed in the middle; then the same command.

``python tests/faults/twelve_cells.py --on ray`` (a head and two nodes with one logical GPU each) or
``--on slurm`` (two nodes likewise; needs root and Debian's slurm-wlm and munge). When some cells are done and
others have logged a step, the runner, all jobs and, with Ray, the whole cluster get SIGKILL. A new cluster is
started, the same command finishes the grid, and the promises of promises.py are checked. About a quarter of
an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.promises import BrokenError, Witness
from launch.executors.ray_cluster import MARK, two_nodes
from launch.executors.slurm_cluster import slurm_cluster

import cegppo_verl
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.launch import processes
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.cells import run_dir
from cegppo_verl.records.status import DONE, status_of

PATIENCE = 3600.0
GRID = """\
name: twelve
question: Does a grid on a cluster survive a kill of everything in the middle?
hypothesis: It does, and every cell resumes from its last checkpoint whose steps are all logged.
refuted_by: A step that is lost or doubled, or a cell that is called done and is not.
scales: [toy-xs]
seeds: [1, 2, 3]
settings:
  total_steps: 4
  eval: {every: 4, at_start: false, benchmarks: [{name: pick-val, samples: 1, problems: 32}]}
  checkpoint: {every: 1}
arms:
  - {name: grpo, algorithm: grpo}
  - {name: dapo, algorithm: dapo}
  - {name: cegppo, algorithm: cegppo, params: {beta1: 0.5, beta2: 1.0}}
  - {name: cegppo-75, algorithm: cegppo, params: {beta1: 0.75, beta2: 1.0}}
"""


@contextmanager
def ray() -> Iterator[tuple[dict[str, str], dict[str, str], Callable[[], list[psutil.Process]]]]:
    """A Ray cluster: profile, environment, and all its processes."""
    with two_nodes() as cluster:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.token}
        profile = {"executor": "ray", "address": cluster.address}
        yield profile, token, lambda: processes.marked(cluster.mark, MARK)


@contextmanager
def slurm() -> Iterator[tuple[dict[str, str], dict[str, str], Callable[[], list[psutil.Process]]]]:
    """A Slurm: profile, environment; its daemons stay up."""
    with slurm_cluster(nodes=2, gpus=1, memory=10_000) as cluster:
        yield {"executor": "slurm", "memory": "8G"}, cluster.environment, list  # one job at a time per node


class Grid:
    """The twelve cells and the command that runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.results = folder, folder / "twelve.yaml", folder / "results"
        self.file.write_text(GRID)
        self.cells = expand(load_grid(self.file))
        self.witness = Witness(self.cells, self.results, samples=32)

    def start(self, profile: dict[str, str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """``cegppo run`` with a cluster profile."""
        cluster = self.folder / "cluster.yaml"
        cluster.write_text(yaml.safe_dump(profile))
        words = [sys.executable, "-m", "cegppo_verl.cli", "run", str(self.file), "--cluster", str(cluster)]
        package = str(Path(cegppo_verl.__file__).parents[1])
        return subprocess.Popen(
            [*words, "--results", str(self.results)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment, "PYTHONPATH": package},
            start_new_session=True,
        )

    def states(self) -> Counter[str]:
        """Cells by state."""
        return Counter(status_of(run_dir(c, self.results), cell_json(c)).state for c in self.cells)

    def until(self, condition: Callable[[], bool]) -> None:
        """Look on until it holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.witness.look()
            if time.monotonic() > deadline:
                raise BrokenError(f"not within {PATIENCE:.0f} s: {self.states()}")
            time.sleep(1.0)
        self.witness.look()

    def in_the_middle(self) -> bool:
        """Some cells are done, and another has logged a step or two of its four."""
        states = [status_of(run_dir(c, self.results), cell_json(c)) for c in self.cells]
        done = sum(s.state == DONE for s in states)
        return done >= 4 and any(s.state != DONE and s.step >= 2 for s in states)


def kill(victims: list[psutil.Process]) -> int:
    """SIGKILL to all; how many there were."""
    struck = 0
    for victim in victims:
        try:
            victim.kill()
            struck += 1
        except psutil.Error:
            continue
    return struck


def main() -> int:
    """Run, kill everything, run again, verify."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--on", choices=("ray", "slurm"), required=True)
    cluster = {"ray": ray, "slurm": slurm}[parser.parse_args().on]
    grid = Grid(Path(tempfile.mkdtemp(prefix="cegppo-twelve-")))
    with cluster() as (profile, environment, members):
        runner = grid.start(profile, environment)
        grid.until(lambda: runner.poll() is not None or grid.in_the_middle())
        print(f"killing everything with {dict(grid.states())}", flush=True)
        jobs = [*grid.witness.nodes(), *grid.witness.processes()]
        struck = kill([psutil.Process(runner.pid), *members(), *jobs])
        runner.wait()
    print(f"{struck} processes killed; the same command on a new cluster", flush=True)
    with cluster() as (profile, environment, _):
        runner = grid.start(profile, environment)
        grid.until(lambda: runner.poll() is not None)
        stitched = grid.witness.verify()
    attempts = Counter(len(run.attempts()) for run in grid.witness.dirs())
    print(f"exit code {runner.returncode}; {dict(grid.states())}; cells by attempts {dict(attempts)}")
    print(f"stitched steps: {sorted({len(values) for values in stitched.values()})} of {grid.witness.steps}")
    print(f"causes: {dict(Counter(grid.witness.causes()))}")
    return int(runner.returncode != 0 or grid.states() != {DONE: len(grid.cells)})


if __name__ == "__main__":
    sys.exit(main())

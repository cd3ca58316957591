"""How long a grid takes on a cluster, over the shortest it could: our admission and first-come-first-served.

    python -m cegppo_verl.bench.runner_makespan [--seeds 3] [--nodes 1000] [--cells 8000] [--measured]

Makespan over the lower bound max(GPU-hours / GPUs, longest cell): 1 is perfect, and may be out of reach. All
cells wait from the beginning, in random order; both policies get the same cells, in one run.

Simulated: cells of 1 GPU to 4 nodes of 8, log-normal lengths (median 4 h, σ 0.5), looked at once a minute.
Two columns of ours: told the true lengths, and told lengths that are off by a factor between 0.5 and 2.
Measured: sleeping jobs on a real Ray cluster of several nodes with logical GPUs on this machine, its start
left out; see bench/sleeping_jobs.py.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
from collections.abc import Collection, Sequence
from typing import Any

from cegppo_verl.bench import ray_nodes
from cegppo_verl.bench.sleeping_jobs import HOUR, POLICIES, jobs_from
from cegppo_verl.errors import UserError
from cegppo_verl.launch.scheduling import admission
from cegppo_verl.launch.scheduling.items import Item, Placement, Running, order
from cegppo_verl.launch.scheduling.simulate import (
    Job,
    first_come_first_served,
    lower_bound,
    simulate,
)

GPUS = 8  # of a node
SIZES = {(1, 1): 4, (1, 2): 3, (1, 4): 3, (1, 8): 3, (2, 8): 2, (4, 8): 1}  # (nodes, GPUs per node): share
MEDIAN_HOURS, SIGMA = 4.0, 0.5
TICK_HOURS = 1 / 60
COLUMNS = ("ours", "ours, estimates off", "first come")
REQUIRED, REQUIRED_MEASURED = 1.05, 1.10
RAY_NODES, RAY_GPUS, RAY_JOBS = 4, 4, 56
RAY_SIZES = {(1, 1): 4, (1, 2): 3, (1, 4): 2, (2, 4): 1}
RAY_MEDIAN_SECONDS = 4.0  # some 0.05 s between two jobs hardly matter, and it takes under 3 minutes


def mixed_grid(cells: int, seed: int, off: float = 1.0, sigma: float = SIGMA) -> list[Job]:
    """Cells of mixed sizes and lengths in random order; told lengths are off by 1/off to off, log-uniform."""
    sizes, lengths, errors = (random.Random(f"{seed}-{what}") for what in ("sizes", "lengths", "errors"))
    drawn = sizes.choices(list(SIZES), list(SIZES.values()), k=cells)
    hours = [lengths.lognormvariate(math.log(MEDIAN_HOURS), sigma) for _ in drawn]
    told = [h * off ** errors.uniform(-1, 1) for h in hours]
    return [Job(Item(f"{i:06}", *drawn[i], told[i]), hours[i]) for i in range(cells)]


def simulated(
    nodes: int = 1000, cells: int = 8000, seeds: Sequence[int] = range(3), sigma: float = SIGMA
) -> dict[str, Any]:
    """Simulate and print the table; about 15 s per seed.

    Returns:
        ``rows``: per seed the bound's two parts in hours and the three ratios; ``worst`` and ``median`` of
        each ratio; the settings.
    """
    rows = [_row(nodes, cells, seed, sigma) for seed in seeds]
    result: dict[str, Any] = {"nodes": nodes, "cells": cells, "sigma": sigma, "rows": rows}
    result["worst"] = {name: max(row[name] for row in rows) for name in COLUMNS}
    result["median"] = {name: statistics.median(row[name] for row in rows) for name in COLUMNS}
    _print_simulated(result)
    return result


def _row(nodes: int, cells: int, seed: int, sigma: float) -> dict[str, Any]:
    exact, wrong = mixed_grid(cells, seed, sigma=sigma), mixed_grid(cells, seed, off=2.0, sigma=sigma)
    bound, free = lower_bound(exact, nodes * GPUS), [GPUS] * nodes
    return {
        "seed": seed,
        "area_hours": sum(job.hours * job.item.gpus for job in exact) / (nodes * GPUS),
        "longest_hours": max(job.hours for job in exact),
        "ours": simulate(_ordered(exact), free, _in_given_order, TICK_HOURS).makespan / bound,
        "ours, estimates off": simulate(_ordered(wrong), free, _in_given_order, TICK_HOURS).makespan / bound,
        "first come": simulate(exact, free, first_come_first_served, TICK_HOURS).makespan / bound,
    }


def _ordered(jobs: Sequence[Job]) -> list[Job]:
    """Sorted once: with every length known, taking some away does not change the order of the rest."""
    by_key = {job.item.key: job for job in jobs}
    return [by_key[item.key] for item in order(job.item for job in jobs)]


def _in_given_order(
    waiting: Collection[Item], running: Collection[Running], free: Sequence[int], now: float
) -> list[Placement]:
    return admission.decide_ordered(waiting, running, free, now).placements


def _print_simulated(result: dict[str, Any]) -> None:
    from rich.console import Console

    title = (
        f"{result['cells']:,} cells on {result['nodes']:,} nodes of {GPUS} GPUs, simulated: makespan / bound"
    )
    table = _table(title, "seed", "GPU-hours / GPUs, h", "longest, h", *COLUMNS)
    for row in result["rows"]:
        hours = (f"{row[key]:.1f}" for key in ("area_hours", "longest_hours"))
        table.add_row(str(row["seed"]), *hours, *(f"{row[name]:.3f}" for name in COLUMNS))
    for name in ("median", "worst"):
        table.add_row(name, "", "", *(f"{result[name][column]:.3f}" for column in COLUMNS))
    Console().print(table)
    Console().print(f"required of ours: ≤ {REQUIRED}")


def measured(seed: int = 0) -> dict[str, Any]:
    """Run sleeping jobs on a Ray cluster of 4 nodes × 4 logical GPUs and print the table; about 3 minutes.

    Returns:
        ``bound_s``, ``makespan_s`` and ``ratio`` by policy, ``simulated``: the ratio without any overhead.

    Raises:
        UserError: Ray is not installed, or the cluster did not come up or lost the driver.
    """
    drawn, jobs = _sleeping(seed)
    bound = lower_bound(jobs, RAY_NODES * RAY_GPUS)
    with ray_nodes.cluster(RAY_NODES, RAY_GPUS) as (address, environment):
        seconds = _drive(address, environment, drawn)
    result: dict[str, Any] = {"seed": seed, "jobs": len(jobs), "bound_s": bound * HOUR, "makespan_s": seconds}
    result["ratio"] = {name: value / (bound * HOUR) for name, value in seconds.items()}
    free = [RAY_GPUS] * RAY_NODES
    result["simulated"] = {name: simulate(jobs, free, POLICIES[name]).makespan / bound for name in seconds}
    _print_measured(result)
    return result


def _sleeping(seed: int) -> tuple[list[list[Any]], list[Job]]:
    rng = random.Random(f"{seed}-sleeping")
    sizes = rng.choices(list(RAY_SIZES), list(RAY_SIZES.values()), k=RAY_JOBS)
    seconds = [round(rng.lognormvariate(math.log(RAY_MEDIAN_SECONDS), SIGMA), 2) for _ in sizes]
    drawn = [[f"{i:03}", *sizes[i], seconds[i]] for i in range(RAY_JOBS)]
    return drawn, jobs_from(drawn)


def _drive(address: str, environment: dict[str, str], drawn: list[list[Any]]) -> dict[str, float]:
    command = [sys.executable, "-m", "cegppo_verl.bench.sleeping_jobs", address, json.dumps(drawn)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise UserError(f"the driver failed: {done.stderr[-500:]}")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _print_measured(result: dict[str, Any]) -> None:
    from rich.console import Console

    title = f"{result['jobs']} sleeping jobs on {RAY_NODES} Ray nodes of {RAY_GPUS} logical GPUs"
    title += f" (seed {result['seed']}): bound {result['bound_s']:.1f} s"
    table = _table(title, "policy", "makespan, s", "/ bound", "simulated / bound")
    for name, seconds in result["makespan_s"].items():
        ratios = (f"{result[key][name]:.3f}" for key in ("ratio", "simulated"))
        table.add_row(name, f"{seconds:.1f}", *ratios)
    Console().print(table)
    Console().print(f"required of ours: ≤ {REQUIRED_MEASURED}")


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def main() -> None:
    """Command line of the benchmark; see the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=8000)
    parser.add_argument("--sigma", type=float, default=SIGMA)
    parser.add_argument("--measured", action="store_true", help="on a real Ray cluster, too")
    args = parser.parse_args()
    simulated(args.nodes, args.cells, range(args.seeds), args.sigma)
    if args.measured:
        measured()


if __name__ == "__main__":
    main()

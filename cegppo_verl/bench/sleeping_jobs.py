"""Sleeping jobs on a real Ray cluster, under both policies: the driver, in a process of its own.

    python -m cegppo_verl.bench.sleeping_jobs ADDRESS JOBS   prints {"ours": seconds, "first come": seconds}

JOBS is a JSON list of [key, nodes, GPUs per node, seconds]. A job is one Ray task per node, bound to the node
that the policy chose; it holds its logical GPUs while it sleeps.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from cegppo_verl.launch.scheduling import Item, Placement, Running, admit
from cegppo_verl.launch.scheduling.simulate import Job, Policy, first_come_first_served

POLICIES: dict[str, Policy] = {"ours": admit, "first come": first_come_first_served}
HOUR = 3600.0


def jobs_from(rows: Sequence[Sequence[Any]]) -> list[Job]:
    """Jobs of ``[key, nodes, gpus_per_node, seconds]``, the policy told the truth."""
    return [Job(Item(key, n, g, seconds / HOUR), seconds / HOUR) for key, n, g, seconds in rows]


class Driver:
    """Runs jobs on the cluster that Ray is connected to."""

    def __init__(self) -> None:
        import ray

        alive = sorted((n for n in ray.nodes() if n["Alive"]), key=lambda n: n["NodeID"])
        self.nodes = [n["NodeID"] for n in alive]
        self.gpus = [int(n["Resources"]["GPU"]) for n in alive]
        # Without max_calls Ray ends the process after every task that has GPUs.
        self._sleep = ray.remote(num_cpus=0, max_calls=0)(_sleep)

    def warm_up(self) -> None:
        """Have every worker process started before the clock is."""
        import ray

        ray.get([self._task(n, 1, 2.0) for n, gpus in enumerate(self.gpus) for _ in range(gpus)])

    def run(self, jobs: Sequence[Job], policy: Policy) -> float:
        """Seconds from the first decision to the end of the last job."""
        waiting, hours = {j.item.key: j.item for j in jobs}, {j.item.key: j.hours for j in jobs}
        running: dict[str, tuple[Running, list[Any]]] = {}
        free, begun = list(self.gpus), time.monotonic()
        while waiting or running:
            now = (time.monotonic() - begun) / HOUR
            for p in policy(waiting.values(), [work for work, _ in running.values()], free, now):
                del waiting[p.item.key]
                running[p.item.key] = self._start(p, hours[p.item.key], now)
                _change(free, p.nodes, -p.item.gpus_per_node)
            for key in _ended(running):
                work, _ = running.pop(key)
                _change(free, work.nodes, work.item.gpus_per_node)
        return time.monotonic() - begun

    def _start(self, placement: Placement, hours: float, now: float) -> tuple[Running, list[Any]]:
        item = placement.item
        tasks = [self._task(node, item.gpus_per_node, hours * HOUR) for node in placement.nodes]
        return Running(item, placement.nodes, now + (item.hours or 0.0)), tasks

    def _task(self, node: int, gpus: int, seconds: float) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id=self.nodes[node], soft=False)
        return self._sleep.options(num_gpus=gpus, scheduling_strategy=there).remote(seconds)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _change(free: list[int], nodes: Sequence[int], gpus: int) -> None:
    for node in nodes:
        free[node] += gpus


def _ended(running: dict[str, tuple[Running, list[Any]]]) -> list[str]:
    """Waits for a task to end; the keys of all jobs that have no task left."""
    import ray

    tasks = [task for _, of_job in running.values() for task in of_job]
    ray.wait(tasks, num_returns=1)
    done, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0)
    ray.get(done)  # raises what a task raised
    for _, of_job in running.values():
        of_job[:] = [task for task in of_job if task not in set(done)]
    return [key for key, (_, of_job) in running.items() if not of_job]


def main() -> None:
    """Command line; see the module's text."""
    import ray

    address, jobs = sys.argv[1], jobs_from(json.loads(sys.argv[2]))
    ray.init(address=address, log_to_driver=False, logging_level="error")
    driver = Driver()
    driver.warm_up()
    print(json.dumps({name: driver.run(jobs, policy) for name, policy in POLICIES.items()}))


if __name__ == "__main__":
    main()

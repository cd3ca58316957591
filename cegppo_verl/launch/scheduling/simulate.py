"""Runs jobs of known length on a cluster that exists only here, to see what a policy is worth."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cegppo_verl.launch.scheduling.items import Item, Placement, Running

Policy = Callable[[Collection[Item], Collection[Running], Sequence[int], float], list[Placement]]


@dataclass(frozen=True)
class Job:
    """An item and how long it really takes; ``item.hours`` is only what the policy is told."""

    item: Item
    hours: float


@dataclass(frozen=True)
class Trace:
    """What happened: start (hours from the beginning) and nodes by key, and when the last job ended."""

    starts: dict[str, float]
    nodes: dict[str, tuple[int, ...]]
    makespan: float


def simulate(jobs: Sequence[Job], free: Sequence[int], policy: Policy, tick: float = 0.0) -> Trace:
    """All jobs wait from the beginning; the policy is asked at 0 and whenever something has ended.

    Args:
        free: GPUs per node.
        policy: see :func:`cegppo_verl.launch.scheduling.admit`. What waits is given in the jobs' order.
        tick: hours between two looks at the cluster: an end is seen, and room used again, only then.

    Raises:
        ValueError: the policy leaves jobs waiting for ever, or uses more than there is.
    """
    cluster = _Cluster(jobs, free)
    while cluster.waiting:
        placements = policy(cluster.waiting.values(), cluster.running.values(), cluster.free, cluster.now)
        cluster.start(placements)
        if cluster.waiting:
            cluster.wait(tick)
    return Trace(cluster.starts, cluster.nodes, max((end for end, _ in cluster.ends), default=cluster.now))


class _Cluster:
    def __init__(self, jobs: Sequence[Job], free: Sequence[int]) -> None:
        self.free, self.now = list(free), 0.0
        self.waiting = {job.item.key: job.item for job in jobs}
        self.running: dict[str, Running] = {}
        self.ends: list[tuple[float, str]] = []  # heap
        self.starts: dict[str, float] = {}
        self.nodes: dict[str, tuple[int, ...]] = {}
        self._hours = {job.item.key: job.hours for job in jobs}

    def start(self, placements: Sequence[Placement]) -> None:
        for item, nodes in ((p.item, p.nodes) for p in placements):
            expected = None if item.hours is None else self.now + item.hours
            self.running[item.key] = Running(self.waiting.pop(item.key), nodes, expected)
            self.starts[item.key], self.nodes[item.key] = self.now, nodes
            heapq.heappush(self.ends, (self.now + self._hours[item.key], item.key))
            self._return(nodes, -item.gpus_per_node)

    def wait(self, tick: float) -> None:
        """Until the next look at which something has ended."""
        if not self.ends:
            raise ValueError(f"{len(self.waiting)} jobs are never started")
        first = self.ends[0][0]
        self.now = math.ceil(first / tick) * tick if tick else first
        while self.ends and self.ends[0][0] <= self.now:
            work = self.running.pop(heapq.heappop(self.ends)[1])
            self._return(work.nodes, work.item.gpus_per_node)

    def _return(self, nodes: Sequence[int], gpus: int) -> None:
        for node in nodes:
            self.free[node] += gpus
            if self.free[node] < 0:
                raise ValueError(f"node {node} is given more than it has")


def first_come_first_served(
    waiting: Collection[Item], running: Collection[Running], free: Sequence[int], now: float
) -> list[Placement]:
    """The policy to compare with: in the given order, on the first nodes that fit; nobody overtakes."""
    free, placements = list(free), []
    for item in waiting:
        nodes = [n for n, gpus in enumerate(free) if gpus >= item.gpus_per_node][: item.nodes]
        if len(nodes) < item.nodes:
            break
        for node in nodes:
            free[node] -= item.gpus_per_node
        placements.append(Placement(item, tuple(nodes)))
    return placements


def lower_bound(jobs: Sequence[Job], gpus: int) -> float:
    """No schedule is shorter: the GPU-hours over all GPUs, or the longest job (hours)."""
    area = sum(job.hours * job.item.gpus for job in jobs) / gpus
    return max(area, max((job.hours for job in jobs), default=0.0))

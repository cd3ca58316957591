"""GPUs of a Ray cluster, per node, from its dashboard: no driver connects, so HTTP is all that it takes.

Three sources, for each alone is late or blind. The autoscaler's report counts everything but is up to seven
seconds old, and may lack a node. Placement groups are live, and are what verl occupies GPUs with. A cell that
starts up has none yet for a minute or two; its job's metadata says what it is going to occupy.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cegppo_verl.launch.executors.base import Capacity
from cegppo_verl.launch.executors.ray_http import Dashboard
from cegppo_verl.launch.executors.ray_request import need_of

_MANY = "detail=1&limit=10000"  # the State API lists 100 unless told otherwise, 10,000 at most
_LINE = re.compile(r"^([\d.e+-]+)/([\d.e+-]+) GPU(?: \(([\d.e+-]+) used of ([\d.e+-]+) reserved)?", re.M)
_LIVE = ("PENDING", "RUNNING")


@dataclass
class _Node:
    """Whole GPUs of a node."""

    total: int
    free: int


def capacity(dashboard: Dashboard) -> Capacity:
    """GPUs now, largest node first; nodes without any are left out.

    Raises:
        SubmitError: the cluster does not answer.
    """
    summary = dashboard.ask("GET", "/nodes?view=summary").json()["data"]
    groups = _rows(dashboard, "placement_groups")
    nodes = _nodes(summary, groups)
    jobs = dashboard.ask("GET", "/api/jobs/").json()
    for count, per_node in _starting(jobs, groups):
        _reserve(nodes, count, per_node)
    nodes.sort(key=lambda node: (-node.total, -node.free))
    return Capacity(tuple(node.total for node in nodes), tuple(node.free for node in nodes))


def _rows(dashboard: Dashboard, what: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = dashboard.ask("GET", f"/api/v0/{what}?{_MANY}").json()["data"]["result"][
        "result"
    ]
    return rows


def _nodes(summary: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> list[_Node]:
    report, reserved = summary.get("nodeLogicalResources") or {}, _reserved(groups, "node_id")
    nodes = []
    for entry in summary["summary"]:
        raylet = entry.get("raylet") or {}
        total = math.floor((raylet.get("resourcesTotal") or {}).get("GPU", 0))
        if raylet.get("state") == "ALIVE" and total:
            key = raylet["nodeId"]
            used = max(_used(report.get(key, "")), reserved.get(key, 0.0))
            nodes.append(_Node(total, max(0, math.floor(total - used + 1e-6))))
    return nodes


def _used(report: str) -> float:
    """GPUs that are taken, from a node's lines such as
    ``0.25/4.0 GPU (0.25 used of 2.0 reserved in placement groups)``: what is reserved is taken, used or not.
    """
    match = _LINE.search(report)
    if match is None:
        return 0.0
    used, _, used_in_groups, reserved = (float(number or 0) for number in match.groups())
    return used - used_in_groups + reserved


def _reserved(groups: Sequence[Mapping[str, Any]], by: str) -> dict[str, float]:
    """GPUs held by placement groups, by ``node_id`` or ``creator_job_id``."""
    held: dict[str, float] = defaultdict(float)
    for group in groups:
        if group.get("state") == "CREATED":
            for bundle in group.get("bundles") or ():
                key = str({**group, **bundle}.get(by))
                held[key] += (bundle.get("unit_resources") or {}).get("GPU", 0.0)
    return held


def _starting(
    jobs: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]
) -> list[tuple[int, int]]:
    """(nodes, GPUs per node) that cells of any runner have been promised and do not hold yet."""
    held = _reserved(groups, "creator_job_id")
    missing = []
    for job in jobs:
        need = need_of(job.get("metadata")) if job.get("status") in _LIVE else None
        if need is not None and need[1]:
            nodes = math.ceil(need[0] - held.get(str(job.get("job_id")), 0.0) / need[1])
            missing.append((max(0, nodes), need[1]))
    return missing


def _reserve(nodes: Sequence[_Node], count: int, per_node: int) -> None:
    """Keep the tightest places that fit, as nobody knows which nodes Ray will choose."""
    for _ in range(count):
        fitting = [node for node in nodes if node.free >= per_node]
        place = (
            min(fitting, key=lambda n: n.free) if fitting else max(nodes, key=lambda n: n.free, default=None)
        )
        if place is not None:
            place.free = max(0, place.free - per_node)

"""What is handed to Ray's Jobs API for a cell."""

from __future__ import annotations

import os
import shlex
from typing import Any

from cegppo_verl.launch.executors.base import Task
from cegppo_verl.launch.executors.profile import RayProfile

# A driver is a Python process of a gigabyte that mostly waits. Ray puts entrypoints that ask for nothing
# onto the head node, all of them; with a share of a CPU they go where there is room, and a head that was
# begun with --num-cpus=0 gets none. It is small, for verl's workers want whole CPUs of the same nodes.
_DRIVER_CPUS = 0.1
# Between SIGTERM and SIGKILL Ray waits 3 s by default, too short to end an attempt in order: its record
# would miss its outcome. Ray reads the variable in the job's environment: no cluster has to be set up for it.
_STOP_VARIABLE, _STOP_SECONDS = "RAY_JOB_STOP_WAIT_TIME_S", 90
RUN, NEED = "cegppo_run", "cegppo_need"  # metadata: whose job it is, and what it will occupy


def request(task: Task, profile: RayProfile) -> dict[str, Any]:
    """The body of ``POST /api/jobs/``; nothing of the working directory is uploaded."""
    environment = _environment(task, profile)
    return {
        "submission_id": task.name,
        "entrypoint": entrypoint(task, profile),
        "runtime_env": {"env_vars": {k: v for k, v in environment.items() if "$" not in v}},
        "metadata": _metadata(task, profile),
        "entrypoint_num_cpus": _DRIVER_CPUS,
    }


def entrypoint(task: Task, profile: RayProfile) -> str:
    """The shell command. ``exec``: Ray's signals and the exit code are those of the node side itself."""
    # Ray expands $NAME in a job's variables and cannot be told not to; the driver gets such a value this way.
    exports = {k: v for k, v in _environment(task, profile).items() if "$" in v}
    if profile.ray_address != "auto":  # Ray overwrites the variable that the job's environment has
        exports["RAY_ADDRESS"] = profile.ray_address
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    command = "\n".join([*lines, f"exec {shlex.join([profile.python, *task.command])}"])
    if not profile.setup:
        return command
    # Ray's shell is sh; `module`, `source` and `conda` want a login bash. A line that fails ends the job.
    script = "\n".join(["set -e", *profile.setup, command])
    return f"exec bash -lc {shlex.quote(script)}"


def need_of(metadata: Any) -> tuple[int, int] | None:
    """(nodes, GPUs per node) of a job of ours, from its metadata; None for anybody else's."""
    nodes, _, per_node = str((metadata or {}).get(NEED, "")).partition("x")
    return (int(nodes), int(per_node)) if nodes.isdigit() and per_node.isdigit() else None


def _environment(task: Task, profile: RayProfile) -> dict[str, str]:
    path = {name: os.environ[name] for name in ("PYTHONPATH",) if os.environ.get(name)}
    return {_STOP_VARIABLE: str(_STOP_SECONDS), **path, **profile.environment, **task.environment}


def _metadata(task: Task, profile: RayProfile) -> dict[str, str]:
    cell = task.cell
    return {
        **profile.metadata,
        "cegppo_cell": cell.id,
        "cegppo_slug": cell.slug,
        "cegppo_grid": cell.grid,
        RUN: str(task.run.path.resolve()),
        NEED: f"{task.need.nodes}x{task.need.gpus_per_node}",
    }

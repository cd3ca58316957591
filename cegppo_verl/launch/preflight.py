"""The few cheap checks before each run. Each raises a UserError that says what to do; together under a second
unless a Ray is already running here (then that cluster is asked for its resources, some ten seconds).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cegppo_verl.errors import UserError, nearest
from cegppo_verl.launch import locks
from cegppo_verl.launch.environment_checks import leftovers, machine, ray_state

MIB = 1024**2
# For Ray's object store and verl's weight-transfer bucket at toy scale; a container's default is 64 MiB.
SHARED_MEMORY_NEEDED = 512 * MIB
RESOURCES_MARKER = "CEGPPO-RESOURCES:"
ASK_RESOURCES = f"""
import json, os, ray
ray.init(address=os.environ["RAY_ADDRESS"], logging_level="ERROR", log_to_driver=False)
print("{RESOURCES_MARKER}", json.dumps(ray.cluster_resources()), flush=True)
"""

Resources = Mapping[str, float]


def require_locked_versions(lock: Path | None = None) -> None:
    """Refuse other versions of what decides the numbers: they would be recorded under a wrong identity.

    Args:
        lock: None takes the checkout's own for the installed stack; without one nothing is compared.

    Raises:
        UserError: neither stack is installed, or a package of ``locks.CORE`` is not as locked.
    """
    installed = locks.installed_packages()
    stack = locks.installed_stack(installed)
    if stack is None:
        raise UserError("neither torch nor vLLM is installed here", hint="run `make setup`")
    path = lock or locks.find_lock(stack)
    if path is None:
        return
    found = [item for item in locks.differences(locks.read_lock(path), installed) if item.name in locks.CORE]
    if found:
        raise UserError(
            "the installed packages are not the locked ones: " + "; ".join(map(str, found)),
            file=path,
            hint=f"run `make setup LOCK=requirements/{path.name}`",
        )


def require_shared_memory(needed: int = SHARED_MEMORY_NEEDED, folder: Path = machine.SHARED_MEMORY) -> None:
    """Refuse to start where Ray's object store or a weight update would die in mid-run.

    Args:
        needed: bytes.

    Raises:
        UserError: the folder is missing, not writable, or has less free.
    """
    hint = f"free some of {folder}, or enlarge it (docker: --shm-size=4g)"
    problem = "it is missing" if not folder.is_dir() else machine.write_problem(folder)
    if problem:
        raise UserError(f"shared memory cannot be used: {problem}", file=folder, hint=hint)
    free = machine.free_bytes(folder)
    if free < needed:
        have, want = free // MIB, needed // MIB
        raise UserError(
            f"no room in shared memory: {have:.0f} MiB free, {want} needed", file=folder, hint=hint
        )


def require_paths(paths: Mapping[str, Path]) -> None:
    """Refuse when a model folder or data file is not there.

    Args:
        paths: key path in the user's file (such as ``scales.toy-s.model``) -> the path it names.

    Raises:
        UserError: the first that is missing or empty, with the nearest name beside it.
    """
    for key, path in paths.items():
        if not path.exists():
            raise UserError("no such file or folder", file=path, key=key, hint=_nearby(path))
        if path.is_dir() and not any(path.iterdir()):
            raise UserError("the folder is empty", file=path, key=key, hint="remove it and build it again")


def _nearby(path: Path) -> str:
    parent = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    guess = (
        nearest(path.name, (p.name for p in parent.iterdir())) if parent == path.absolute().parent else None
    )
    return f"did you mean '{parent / guess}'?" if guess else f"put it there (what exists of it: {parent})"


def require_no_other_ray(needed: Resources, ask: Callable[[str], Resources] | None = None) -> None:
    """Refuse when `ray.init()` would join a cluster that cannot hold the run.

    verl does not queue: with too few free resources it dies after a minute of start-up.

    Args:
        needed: Ray resources of one run, e.g. {"CPU": 8, "GPU": 1}.
        ask: address -> the cluster's resources; None asks it in a subprocess.

    Raises:
        UserError: an address is set where nothing answers, the cluster cannot be asked, or it has too little.
    """
    address, source = ray_state.ray_address()
    if address is None:
        return
    if not ray_state.is_reachable(address):
        if source == "RAY_ADDRESS":
            raise UserError(
                f"nothing answers at {address}", key=source, hint="unset RAY_ADDRESS or start that Ray"
            )
        return  # the file of a cluster that is gone: Ray starts a new one
    present = (ask or ask_resources)(address)
    short = [f"{k} {present.get(k, 0):g} of {v:g}" for k, v in needed.items() if present.get(k, 0) < v]
    if short:
        raise UserError(
            f"a Ray with other resources is running at {address}: {', '.join(short)}",
            key=source,
            hint="stop it with `ray stop`, or start it with enough (--num-cpus, --num-gpus)",
        )


def ask_resources(address: str) -> Resources:
    """The total resources of a running cluster, asked in a subprocess so that Ray is not imported here.

    Raises:
        UserError: no answer within a minute, or an error such as a refused token.
    """
    try:
        answer = subprocess.run(
            [sys.executable, "-c", ASK_RESOURCES],
            env={**os.environ, "RAY_ADDRESS": address, "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        lines = [line for line in answer.stdout.splitlines() if line.startswith(RESOURCES_MARKER)]
        problem = (answer.stderr.strip().splitlines() or ["no output"])[-1]
    except subprocess.TimeoutExpired:
        lines, problem = [], "no answer within 60 s"
    if not lines:
        hint = "stop it with `ray stop`, or set RAY_AUTH_MODE=token if it was begun with a token"
        raise UserError(f"the Ray at {address} cannot be asked: {problem[:300]}", hint=hint)
    resources: dict[str, float] = json.loads(lines[-1].removeprefix(RESOURCES_MARKER))
    return resources


def require_no_private_run() -> None:
    """Refuse a second private Ray on this machine: both would use one weight-transfer socket.

    Ray numbers the first job of every private cluster 01000000, and verl names its socket after that.

    Raises:
        UserError: a process listens on such a socket.
    """
    alive = leftovers.live_weight_sockets()
    if alive:
        raise UserError(
            "another run with its own Ray is going on here (it listens on the weight-transfer socket)",
            file=alive[0],
            hint="wait for it, or stop it",
        )

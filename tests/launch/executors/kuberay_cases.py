"""Tasks and profiles for the KubeRay executor's tests: plain ones, and ones that try to break a manifest."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.experiment.validation import validate
from cegppo_verl.launch.executors.base import NODE, Need, Task
from cegppo_verl.launch.executors.kuberay_manifest import manifest
from cegppo_verl.launch.executors.profile import KubeRayProfile
from cegppo_verl.records.rundir import RunDir

GRID = """
name: k8s
question: Does the manifest say what was meant?
hypothesis: It does, for one node and for many.
refuted_by: A key that KubeRay does not know.
scales: [toy-xs]
seeds: [1]
arms: [{name: grpo, algorithm: grpo}]
"""
RUNS = "/lustre/results/runs"
PLAIN: dict[str, Any] = {
    "executor": "kuberay",
    "image": "registry.example.com/cegppo:gpu",
    "ray_version": "2.60.0",
    "cpus": 32,
    "memory": "512Gi",
    "volumes": [{"claim": "lustre", "mount": "/mnt/lustre"}],
    "paths": [{"here": "/lustre", "there": "/mnt/lustre"}],
}
FULL: dict[str, Any] = {
    **PLAIN,
    "namespace": "team-a",
    "queue": "gpu-queue",
    "priority_class": "high",
    "image_pull_policy": "Always",
    "image_pull_secrets": ["login"],
    "service_account": "trainer",
    "node_selector": {"pool": "h100"},
    "tolerations": [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "value": "a"},
    ],
    "volumes": [
        {"claim": "lustre", "mount": "/mnt/lustre", "sub_path": "team a"},
        {"claim": "models", "mount": "/models", "read_only": True},
        {"claim": "lustre", "mount": "/scratch", "sub_path": "scratch"},
    ],
    "environment": {"HF_HOME": "/models/hf"},
    "secrets": {"WANDB_API_KEY": {"secret": "wandb", "key": "api-key"}},
    "setup": ["source /opt/env/activate"],
    "ttl_seconds": 300,
}
# What YAML, Kubernetes or a shell would read as something else.
HOSTILE_VALUES = {
    "A_BOOLEAN": "true",
    "A_NUMBER": "1e3",
    "A_SEXAGESIMAL": "12:30:45",
    "AN_OCTAL": "0o17",
    "NOTHING": "",
    "A_NULL": "null",
    "A_TILDE": "~",
    "A_LIST": "[1, 2]",
    "A_TAG": "!!python/object:os.system",
    "AN_ANCHOR": "&a *b",
    "A_COMMENT": "a # b: c",
    "LINES": "one\ntwo: 2\n\n",
    "QUOTES": """'it"s' `id` $(id)""",
    "EXPANSION": "$(A_BOOLEAN) $$(A_BOOLEAN) $HOME $$",
    "UNICODE": "π β\u2028\u0085é\U0001f600",
    "SPACES": "  both ends\t",
    "DASHES": "---\n...\n",
}
HOSTILE_RUN = '/lustre/it\'s a "run"; $(touch x) `id` & #/π-seed1'


def profile(**changes: Any) -> KubeRayProfile:
    """The plain profile with ``changes``."""
    return validate(KubeRayProfile, {**PLAIN, **changes})


@functools.cache
def cell() -> Cell:
    """A cell of a small grid."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grid.yaml"
        file.write_text(GRID)
        return expand(load_grid(file))[0]


def task(
    name: str = "cegppo-0123456789ab-1",
    *,
    nodes: int = 1,
    gpus: int = 8,
    platform: str = "cuda",
    run: str = f"{RUNS}/k8s/grpo-0123456789ab",
    environment: dict[str, str] | None = None,
    grid: str | None = None,
) -> Task:
    """A task of one cell."""
    return Task(
        name=name,
        cell=cell().model_copy(update={"grid": grid} if grid else {}),
        run=RunDir(Path(run)),
        need=Need(nodes, gpus, platform),
        command=(*NODE, run),
        environment=environment or {},
    )


def every_manifest() -> dict[str, dict[str, Any]]:
    """A manifest of each kind, by name; together they use every key that we ever write."""
    full = validate(KubeRayProfile, FULL)
    return {
        "one node": manifest(task(), profile()),
        "many nodes": manifest(task(nodes=4), profile()),
        "cpu": manifest(task(platform="cpu", gpus=2), profile()),
        "kueue": manifest(task(), profile(queue="gpu-queue")),
        "everything": manifest(task(nodes=2), full),
        "hostile": manifest(hostile_task(), full),
    }


def hostile_task() -> Task:
    """A task whose every text tries to be something else."""
    return task(nodes=2, run=HOSTILE_RUN, environment=HOSTILE_VALUES, grid=f"x.{'y' * 60}.z")

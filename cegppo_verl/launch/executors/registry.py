"""From a profile to its executor. Each is imported when it is asked for: Ray's SDK only by who uses Ray."""

from __future__ import annotations

import importlib
from importlib import resources

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.launch.executors.base import Executor
from cegppo_verl.launch.executors.profile import MODELS, Profile

NAMES = tuple(MODELS)

_CLASSES = {
    "local": ("local", "LocalExecutor"),
    "ray": ("ray_jobs", "RayExecutor"),
    "slurm": ("slurm", "SlurmExecutor"),
    "kuberay": ("kuberay", "KubeRayExecutor"),
}


def make(profile: Profile) -> Executor:
    """The executor that a profile describes; nothing is contacted yet."""
    module, name = _CLASSES[profile.executor]
    executor: Executor = getattr(importlib.import_module(f"{__package__}.{module}"), name)(profile)
    return executor


def example(name: str) -> str:
    """A commented profile with every key of an executor, to start from.

    Raises:
        UserError: no such executor.
    """
    if name not in MODELS:
        raise UserError(f"unknown executor '{name}'", hint=did_you_mean(name, NAMES))
    return (resources.files(__package__) / "examples" / f"{name}.yaml").read_text(encoding="utf-8")

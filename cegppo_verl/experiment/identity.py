"""A cell's identity: a hash of everything that can change its numbers, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cegppo_verl.experiment import trainers
from cegppo_verl.experiment.algorithms import Params
from cegppo_verl.experiment.catalog import Scale
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.losses import external
from cegppo_verl.toy import code, instruct, pick, words

# Raise one of these when the same inputs would give other numbers: earlier results then get other ids. A
# loss's version is its own (``Loss.version``); of a loss from outside the package the file's hash is part.
GRADER_VERSION = "math-verify-0.9.0+1"
OTHER_GRADERS = {"code-toy": "sandbox+1", "instruct-toy": "constraints+1"}  # of tasks that are not maths

# Of the generated problems, by task; real data is a file, whose name is the task's.
DATA_VERSIONS = {
    "pick": pick.VERSION,
    "words": words.VERSION,
    "code-toy": code.VERSION,
    "instruct-toy": instruct.VERSION,
}

LENGTH = 12  # hex digits: 48 bits, a collision among 10,000 cells has probability 2e-7


def content(algorithm: str, params: Params, scale: Scale, settings: Settings, seed: int) -> dict[str, Any]:
    """What is hashed. Left out: grid and arm names, hardware, executor, paths, logging, checkpoints."""
    return {
        "algorithm": external.label(algorithm),
        "params": dict(params),
        "scale": scale.identity(),
        "settings": settings_content(settings),
        "seed": seed,
        "loss": external.version(algorithm),
        "grader": OTHER_GRADERS.get(settings.task, GRADER_VERSION),
        "data": DATA_VERSIONS.get(settings.task),
        "engine": trainers.VERSIONS[scale.trainer],
    }


def settings_content(settings: Settings) -> dict[str, Any]:
    """What of the settings is hashed: how often a run can be resumed from does not change it."""
    return settings.model_dump(mode="json", exclude={"checkpoint"})


def canonical(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys, no spaces, and Python's shortest exact floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Mapping[str, Any]) -> str:
    """The first twelve hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:LENGTH]

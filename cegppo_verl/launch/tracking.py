"""W&B and TensorBoard beside our own records: one run per cell, over all its attempts.

Whether they are used is no part of a cell: ``cegppo run --logger wandb``, or
``CEGPPO_LOGGERS=wandb,tensorboard`` in the runner's environment or in that of a cluster profile. W&B drops a
step that it has seen (after a resume, those since the checkpoint) and keeps the first; what counts is
``metrics.jsonl``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.hydra_text import override
from cegppo_verl.records.rundir import Attempt, RunDir

VARIABLE = "CEGPPO_LOGGERS"
KNOWN = ("wandb", "tensorboard")
_KEY = "trainer.logger"


def loggers(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Those asked for, each once.

    Raises:
        UserError: an unknown name.
    """
    names = [name.strip() for name in environment.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        if name not in KNOWN:
            raise UserError(f"unknown logger '{name}'", key=VARIABLE, hint=did_you_mean(name, KNOWN))
    return tuple(dict.fromkeys(names))


def ask(names: Sequence[str]) -> None:
    """Use these from now on, or, without any, those of the environment.

    Raises:
        UserError: an unknown name.
    """
    if names:
        loggers({VARIABLE: ",".join(names)})
        os.environ[VARIABLE] = ",".join(names)
    loggers()


def passed_on() -> dict[str, str]:
    """What a node side must see of the runner's environment: names only, no keys."""
    return {VARIABLE: ",".join(loggers())} if loggers() else {}


def overridden(overrides: Sequence[str]) -> list[str]:
    """verl's overrides, with the loggers asked for beside the console and our file."""
    asked = loggers()
    said = override(_KEY, ["console", "file", *asked])
    return [said if asked and line.startswith(f"{_KEY}=") else line for line in overrides]


def environment(cell: Cell, run: RunDir, attempt: Attempt) -> dict[str, str]:
    """By which every attempt of a cell goes on in the same W&B run and TensorBoard folder."""
    asked = loggers()
    found: dict[str, str] = {}
    if "wandb" in asked:
        found |= {"WANDB_RUN_ID": cell.id, "WANDB_RESUME": "allow", "WANDB_DIR": str(attempt.path.resolve())}
    if "tensorboard" in asked:
        found["TENSORBOARD_DIR"] = str(run.path.resolve() / "tensorboard")
    return found

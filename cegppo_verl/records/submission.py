"""``submission.json``: that a cell was handed to an executor, how, and what came of it.

Written before the scheduler is asked, so that a job exists at most once however a runner dies: the next one
asks the scheduler for the name.
"""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cegppo_verl.records import atomic
from cegppo_verl.records.rundir import Json, RunDir, read_json

FILE = "submission.json"


@dataclass(frozen=True)
class Submission:
    """The newest submission of a cell.

    Attributes:
        name: unique name of the job; attempts that it makes carry it in ``attempt.json``.
        number: 1 for the first submission of the cell.
        executor: local, ray, slurm or kuberay.
        job: the scheduler's own id; None until it has answered.
        submitted, ended: ISO times, UTC; ``ended`` is None while the job may be alive.
        runner: host, process id and birth of the runner that submitted it.
        request: what the node side is told, see ``launch/node.py``.
        refused: the scheduler did not take it, or its answer was lost: then a job of this name may exist.
    """

    name: str
    number: int
    executor: str
    submitted: str
    job: str | None = None
    ended: str | None = None
    reason: str | None = None
    runner: Json = field(default_factory=dict)
    request: Json = field(default_factory=dict)
    refused: bool = False


def read(run: RunDir) -> Submission | None:
    """The newest submission; None when there is none, or its file is not readable."""
    data = read_json(run.path / FILE)
    if data is None:
        return None
    known = {k: v for k, v in data.items() if k in Submission.__dataclass_fields__}
    try:
        return Submission(**known)
    except TypeError:
        return None


def write(run: RunDir, submission: Submission) -> None:
    """Replace the file, atomically."""
    atomic.write_json(run.path / FILE, {"schema": 1, **asdict(submission)})


def update(run: RunDir, known: Submission, /, **changes: Any) -> Submission:
    """Write ``known`` with ``changes`` and return it."""
    changed = replace(known, **changes)
    write(run, changed)
    return changed


def now() -> str:
    """This moment, ISO, UTC, whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

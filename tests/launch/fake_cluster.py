"""A stand-in for a cluster: jobs that outlive the runner, on this machine, with misbehaviour on demand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import psutil

from cegppo_verl.launch import processes
from cegppo_verl.launch.executors.base import (
    Capacity,
    JobState,
    JobStatus,
    NameTakenError,
    SubmitError,
    Task,
)
from cegppo_verl.launch.executors.local import SUBMISSION


class FakeCluster:
    """Jobs are node sides in sessions of their own; what the cluster knows of them is in a folder.

    Args:
        folder: the cluster's memory; two runners with the same folder see the same cluster.
        gpus: per node.
    """

    name: ClassVar[str] = "ray"
    detached: ClassVar[bool] = True

    def __init__(self, folder: Path, gpus: Sequence[int] = (1,)) -> None:
        self.folder, self.gpus = folder, tuple(gpus)
        folder.mkdir(exist_ok=True)
        self.unreachable = False
        self.refuse: SubmitError | None = None
        self.reasons: dict[str, str] = {}
        self.codes: dict[str, int] = {}

    def check(self, tasks: Sequence[Task]) -> None:
        """Everything fits."""

    def files(self, task: Task) -> dict[str, str]:
        """The command."""
        return {"command": json.dumps(task.command)}

    def submit(self, task: Task) -> str:
        """Start it, unless the name is known."""
        if self.refuse is not None:
            raise self.refuse
        file = self.folder / task.name
        if task.fresh and file.exists() and not self.alive(task.name):
            raise NameTakenError(task.name)
        if not file.exists():
            log = (self.folder / f"{task.name}.log").open("ab")
            process = subprocess.Popen(
                [sys.executable, *task.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **task.environment, SUBMISSION: task.name},
                start_new_session=True,
            )
            log.close()
            file.write_text(str(process.pid))
        return file.read_text()

    def statuses(self, names: Sequence[str]) -> dict[str, JobStatus]:
        """By the process; a queued job is a file without one."""
        return {name: self._status(name) for name in names}

    def _status(self, name: str) -> JobStatus:
        if self.unreachable:
            return JobStatus(JobState.UNKNOWN)
        if self.alive(name):
            return JobStatus(JobState.RUNNING)
        return JobStatus(JobState.ENDED, self.reasons.get(name), self.codes.get(name))

    def alive(self, name: str) -> bool:
        """Whether the node side lives."""
        try:
            process = psutil.Process(int((self.folder / name).read_text()))
            if process.status() == psutil.STATUS_ZOMBIE:
                code = process.wait(0)  # our own child: no cluster would show it any more
                if code is not None and code >= 0:
                    self.codes[name] = code
                return False
            return process.environ().get(SUBMISSION) == name
        except (OSError, ValueError, psutil.Error):
            return False

    def pid(self, name: str) -> int:
        """Of the node side."""
        return int((self.folder / name).read_text())

    def cancel(self, name: str) -> None:
        """SIGTERM."""
        if self.alive(name):
            psutil.Process(self.pid(name)).terminate()

    def capacity(self) -> Capacity | None:
        """All is free, as a cluster says that has not placed the jobs yet."""
        return Capacity(self.gpus, self.gpus)

    def close(self) -> None:
        """Jobs go on."""

    def names(self) -> list[str]:
        """Of all jobs that were ever submitted."""
        return sorted(p.name for p in self.folder.iterdir() if not p.suffix)

    def end_all(self, marks: Mapping[str, str] | None = None) -> None:
        """For the end of a test."""
        for name in self.names():
            processes.end(processes.with_descendants(processes.marked(name, SUBMISSION)), grace=0.2)

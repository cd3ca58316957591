"""The Ray executor: cells as jobs of a cluster that is already running, several at once as its GPUs allow."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any, ClassVar

from cegppo_verl.errors import UserError
from cegppo_verl.launch.executors import ray_nodes, ray_status
from cegppo_verl.launch.executors.base import (
    Capacity,
    JobState,
    JobStatus,
    NameTakenError,
    Need,
    SubmitError,
    Task,
)
from cegppo_verl.launch.executors.profile import RayProfile
from cegppo_verl.launch.executors.ray_http import Answer, Dashboard
from cegppo_verl.launch.executors.ray_request import RUN, request

_CHECK_SECONDS = 5.0
_CAPACITY_SECONDS = 3.0  # the cluster's own report is no fresher


class RayExecutor:
    """Carries attempts to a Ray cluster through its dashboard; needs no Ray on the machine of the runner.

    Args:
        profile: where and how, see ``examples/ray.yaml``.
    """

    name: ClassVar[str] = "ray"
    detached: ClassVar[bool] = True

    def __init__(self, profile: RayProfile) -> None:
        self.profile = profile
        self._dashboard = Dashboard(profile.address)
        self._capacity: tuple[float, Capacity] | None = None

    def check(self, tasks: Sequence[Task]) -> None:
        """The dashboard answers, takes our token, and the cluster is large enough for each task."""
        self._dashboard.ask("GET", "/api/version", timeout=_CHECK_SECONDS).json()
        totals = ray_nodes.capacity(self._dashboard).total
        for task in tasks:
            if not _fits(task.need, totals):
                raise UserError(_too_large(task, totals), hint="start more nodes, or choose a smaller scale")

    def files(self, task: Task) -> dict[str, str]:
        """The request."""
        return {f"{task.name}.json": json.dumps(request(task, self.profile), indent=2) + "\n"}

    def submit(self, task: Task) -> str:
        """Hand the job in under its own name, so that one whose answer was lost is found and not repeated.

        Raises:
            NameTakenError: the cluster remembers an ended job of a fresh task's name.
            SubmitError: no answer or no room at the head (passing), refused, or the name is another run's.
        """
        self._capacity = None
        refusal = self._hand_in(task)
        if refusal is not None:
            self._find(task, refusal)
        return task.name

    def statuses(self, names: Sequence[str]) -> dict[str, JobStatus]:
        """The state of each, by name, in one list of all jobs; all UNKNOWN when the cluster is silent."""
        if not names:
            return {}
        try:
            jobs = self._dashboard.ask("GET", "/api/jobs/").json()
        except SubmitError as error:
            return dict.fromkeys(names, JobStatus(JobState.UNKNOWN, reason=error.message))
        known = {job.get("submission_id"): ray_status.read(job) for job in jobs}
        return {name: known.get(name, ray_status.FORGOTTEN) for name in names}

    def cancel(self, name: str) -> None:
        """SIGTERM to the entrypoint and all its children at once, SIGKILL to what is left after 90 s.

        A cluster that does not answer is not waited for: its job stays in the list, to be cancelled again.
        """
        try:
            self._dashboard.ask("POST", f"{_path(name)}/stop")
        except SubmitError as error:
            if not error.passing:
                raise

    def capacity(self) -> Capacity | None:
        """GPUs per node, a few seconds old at most; nothing is free on a cluster that does not answer."""
        if self._capacity is not None and time.monotonic() - self._capacity[0] < _CAPACITY_SECONDS:
            return self._capacity[1]
        try:
            found = ray_nodes.capacity(self._dashboard)
        except SubmitError as error:
            if not error.passing:
                raise
            found = Capacity((), ())
        self._capacity = (time.monotonic(), found)
        return found

    def close(self) -> None:
        """Nothing is held."""

    def _hand_in(self, task: Task) -> SubmitError | None:
        try:
            answer = self._dashboard.ask("POST", "/api/jobs/", request(task, self.profile))
        except SubmitError as error:
            return error
        return None if answer.ok else _refusal(answer)

    def _find(self, task: Task, refusal: SubmitError) -> None:
        """The job may be there all the same: from before, or because only the answer was lost."""
        try:
            known = self._dashboard.ask("GET", _path(task.name), timeout=_CHECK_SECONDS)
        except SubmitError:
            raise refusal from None
        if not known.ok:
            raise refusal
        job = known.json()
        _require_ours(task, job)
        if task.fresh and ray_status.read(job).state is JobState.ENDED:
            raise NameTakenError(task.name)


def _path(name: str) -> str:
    return f"/api/jobs/{urllib.parse.quote(name, safe='')}"


def _fits(need: Need, totals: Sequence[int]) -> bool:
    """Whether an empty cluster has room; two "nodes" of a cell may lie on one machine."""
    return need.gpus_per_node == 0 or sum(total // need.gpus_per_node for total in totals) >= need.nodes


def _too_large(task: Task, totals: Sequence[int]) -> str:
    has = f"nodes with {', '.join(map(str, totals))}" if totals else "none at all"
    need = task.need
    return f"{task.cell.slug} needs {need.nodes} x {need.gpus_per_node} GPUs; the Ray cluster has {has}"


def _require_ours(task: Task, job: Any) -> None:
    """A name comes from the cell's identity, which two people's run directories may share."""
    other, own = (job.get("metadata") or {}).get(RUN), str(task.run.path.resolve())
    if other != own:
        hint = "use that run directory, or another cluster"
        raise SubmitError(
            f"the Ray job '{task.name}' exists for another run directory, {other}", passing=False, hint=hint
        )


def _refusal(answer: Answer) -> SubmitError:
    # The head hands a complaint of its own agent on as its own failure.
    faulty = 400 <= answer.status < 500 or "status code 400" in answer.text
    return SubmitError(f"Ray refuses the job: {answer.complaint()}", passing=not faulty)

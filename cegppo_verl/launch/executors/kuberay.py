"""The KubeRay executor: a cell is a RayJob, i.e. a Ray cluster of its own in pods, queued by Kueue or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cegppo_verl.launch.executors import kuberay_check, kuberay_status
from cegppo_verl.launch.executors.base import (
    Capacity,
    JobState,
    JobStatus,
    NameTakenError,
    SubmitError,
    Task,
)
from cegppo_verl.launch.executors.kuberay_kubectl import Answer, Kubectl
from cegppo_verl.launch.executors.kuberay_manifest import CELL_LABEL, RUN_ANNOTATION, run_directory, text
from cegppo_verl.launch.executors.profile import KubeRayProfile

# Complaints after which the same call may work in a while; a full ResourceQuota is one, though "Forbidden".
_PASSING = (
    "exceeded quota",
    "timeout",
    "timed out",
    "deadline exceeded",
    "connection refused",
    "connection reset",
    "unable to connect",
    "no such host",
    ": EOF",
    "TLS handshake",
    "too many requests",
    "service unavailable",
    "currently unable",
    "internal error",
    "etcdserver",
    "failed calling webhook",
)


class KubeRayExecutor:
    """Carries attempts to a Kubernetes cluster through ``kubectl``; Kubernetes or Kueue does the queueing.

    Args:
        profile: where and how, see ``examples/kuberay.yaml``.
    """

    name: ClassVar[str] = "kuberay"
    detached: ClassVar[bool] = True

    def __init__(self, profile: KubeRayProfile) -> None:
        self.profile = profile
        self._kubectl = Kubectl(profile)

    def check(self, tasks: Sequence[Task]) -> None:
        """kubectl, operator, rights, queue and storage are there, and nodes can have the GPUs asked for."""
        kuberay_check.check(tasks, self.profile, self._kubectl)

    def files(self, task: Task) -> dict[str, str]:
        """The manifest."""
        return {"rayjob.yaml": text(task, self.profile)}

    def submit(self, task: Task) -> str:
        """Create the RayJob; ``namespace/name`` is its id.

        Raises:
            NameTakenError: there is an ended RayJob of a fresh task's name.
            SubmitError: refused, no answer, or the name is taken by a run that is kept elsewhere.
        """
        answer = self._kubectl("create", "--filename=-", "--output=name", text=text(task, self.profile))
        if answer.has("AlreadyExists", "already exists"):
            self._require_ours(task)
        elif not answer.ok:
            raise _refusal(answer)
        return f"{self.profile.namespace}/{task.name}"

    def statuses(self, names: Sequence[str]) -> dict[str, JobStatus]:
        """The state of each, by name; all UNKNOWN when the API does not answer in full."""
        if not names:
            return {}
        answer = self._kubectl("get", "rayjobs.ray.io", f"--selector={CELL_LABEL}", "--output=json")
        known = kuberay_status.read_list(answer.json()) if answer.ok else None
        if known is None:
            reason = "kubectl's answer is not a list of RayJobs" if answer.ok else answer.complaint()
            return dict.fromkeys(names, JobStatus(JobState.UNKNOWN, reason=reason))
        return {name: known.get(name, JobStatus(JobState.ENDED)) for name in names}

    def cancel(self, name: str) -> None:
        """Delete the RayJob, keeping it visible until its pods have gone.

        Deleted and not suspended: KubeRay stops the Ray job of a deleted RayJob (SIGTERM), a suspended one
        would be admitted again by Kueue and stay behind as an object.
        """
        self._kubectl(
            "delete", "rayjobs.ray.io", name, "--cascade=foreground", "--wait=false", "--ignore-not-found"
        )

    def capacity(self) -> Capacity | None:
        """None: Kubernetes queues by itself."""
        return None

    def close(self) -> None:
        """Nothing is held."""

    def _require_ours(self, task: Task) -> None:
        """A name comes from the cell's identity, which two people's run directories may share."""
        found = self._kubectl("get", "rayjobs.ray.io", task.name, "--output=json")
        data = found.json() if found.ok else None
        if not isinstance(data, dict):
            raise SubmitError(f"a RayJob '{task.name}' exists but cannot be read", passing=True)
        other = ((data.get("metadata") or {}).get("annotations") or {}).get(RUN_ANNOTATION)
        if other != run_directory(task, self.profile):
            hint = "use that run directory, another namespace, or delete the RayJob once it has ended"
            message = f"a RayJob '{task.name}' exists for another run directory, {other}"
            raise SubmitError(message, passing=False, hint=hint)
        if task.fresh and kuberay_status.job_status(data).state is JobState.ENDED:
            raise NameTakenError(task.name)


def _refusal(answer: Answer) -> SubmitError:
    passing = answer.code is None or answer.has(*_PASSING)
    hint = None if passing else "see what `cegppo run --dry-run` would submit, and the cluster profile"
    return SubmitError(f"kubectl create: {answer.complaint()}", passing=passing, hint=hint)

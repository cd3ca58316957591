"""Before anything is submitted to Kubernetes: what would make every submission fail, said once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.launch.executors.base import Task
from cegppo_verl.launch.executors.kuberay_kubectl import Answer, Kubectl
from cegppo_verl.launch.executors.kuberay_manifest import manifest, run_directory
from cegppo_verl.launch.executors.profile import KubeRayProfile


def check(tasks: Sequence[Task], profile: KubeRayProfile, kubectl: Kubectl) -> None:
    """Raise :class:`UserError` for the first thing that is missing."""
    kubectl.require()
    for task in tasks:
        manifest(task, profile)
        _check_storage(task, profile)
    _check_operator(kubectl)
    _check_rights(profile, kubectl)
    _check_queue(profile, kubectl)
    _check_nodes(tasks, profile, kubectl)


def _check_storage(task: Task, profile: KubeRayProfile) -> None:
    here, there = task.command[-1], run_directory(task, profile)
    covering = [v for v in profile.volumes if PurePosixPath(there).is_relative_to(v.mount)]
    if not covering:
        mounts = ", ".join(volume.mount for volume in profile.volumes) or "none"
        said = there if here == there else f"{there} ({here} here)"
        hint = f"mount the claim that holds it (mounts now: {mounts}), or add its folder to 'paths'"
        raise UserError(f"the run directory {said} lies on no volume of the pods", key="volumes", hint=hint)
    if max(covering, key=lambda volume: len(volume.mount)).read_only:
        raise UserError(f"{there} lies on a volume for reading only", key="volumes", hint="drop read_only")


def _check_operator(kubectl: Kubectl) -> None:
    answer = kubectl("api-resources", "--api-group=ray.io", "--output=name")
    if not answer.ok:
        hint = "check `kubectl config current-context` and that `kubectl get rayjobs` answers"
        raise UserError(f"the Kubernetes API does not answer: {answer.complaint()}", hint=hint)
    if "rayjobs.ray.io" not in answer.out.split():
        hint = "ask for the KubeRay operator, 1.1 or newer, or check the profile's context"
        raise UserError("the cluster has no KubeRay: it does not know RayJobs", key="context", hint=hint)


def _check_rights(profile: KubeRayProfile, kubectl: Kubectl) -> None:
    for verb in ("create", "list", "delete"):
        answer = kubectl("auth", "can-i", verb, "rayjobs.ray.io")
        if answer.out.strip() == "no":
            hint = "ask for a role with create, get, list and delete on rayjobs.ray.io"
            message = f"you may not {verb} RayJobs in namespace '{profile.namespace}'"
            raise UserError(message, key="namespace", hint=hint)


def _check_queue(profile: KubeRayProfile, kubectl: Kubectl) -> None:
    if profile.queue is None:
        return
    answer = kubectl("get", "localqueues.kueue.x-k8s.io", "--output=name")
    if answer.has("doesn't have a resource type"):
        raise UserError("the cluster has no Kueue", key="queue", hint="write 'queue: null', or install Kueue")
    _require_name(
        answer, profile.queue, f"no Kueue queue '{profile.queue}' in '{profile.namespace}'", "queue"
    )
    if profile.priority_class is not None:
        classes = kubectl("get", "workloadpriorityclasses.kueue.x-k8s.io", "--output=name")
        name = profile.priority_class
        _require_name(classes, name, f"no Kueue priority class '{name}'", "priority_class")


def _require_name(answer: Answer, name: str, message: str, key: str) -> None:
    if not answer.ok:
        return  # not allowed to look: whether it is there will show
    known = [line.rpartition("/")[2] for line in answer.out.split()]
    if name not in known:
        raise UserError(message, key=key, hint=did_you_mean(name, known) if known else "there is none yet")


def _check_nodes(tasks: Sequence[Task], profile: KubeRayProfile, kubectl: Kubectl) -> None:
    """Only what nodes of this selection, when there are any with GPUs, all fall short of is refused.

    A pool that scales from zero shows no node, and many people may not list nodes: then nothing is concluded.
    """
    needed = max((t.need.gpus_per_node for t in tasks if t.need.platform != "cpu"), default=0)
    answer = kubectl("get", "nodes", "--output=json") if needed else None
    found = list(_gpus(answer.json(), profile)) if answer is not None and answer.ok else []
    most = max(found, default=0)
    if 0 < most < needed:
        hint = "choose a scale that needs fewer GPUs per node, or select another node pool in node_selector"
        message = (
            f"a cell needs {needed} {profile.gpu_resource} per node; the selected nodes have at most {most}"
        )
        raise UserError(message, key="node_selector", hint=hint)


def _gpus(data: Any, profile: KubeRayProfile) -> Iterator[int]:
    items = data.get("items") if isinstance(data, dict) else None
    for item in items if isinstance(items, list) else []:
        labels = item.get("metadata", {}).get("labels", {})
        if profile.node_selector.items() <= labels.items():
            count = item.get("status", {}).get("allocatable", {}).get(profile.gpu_resource, "0")
            yield int(count) if str(count).isdigit() else 0

"""From a task to a RayJob manifest: one RayJob, one Ray cluster of its own, one cell.

Field names and limits are those of KubeRay's ``ray.io/v1`` API; the rendered manifests are tested against
its published schema.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from cegppo_verl.errors import UserError
from cegppo_verl.launch.executors.base import Task
from cegppo_verl.launch.executors.profile import KubeRayProfile
from cegppo_verl.launch.executors.profile_fields import PathPair
from cegppo_verl.launch.jobs import LOGICAL_CPUS

Json = dict[str, Any]

CELL_LABEL, GRID_LABEL, RUN_ANNOTATION = "cegppo/cell", "cegppo/grid", "cegppo/run"
# KubeRay appends 6 characters for the Ray cluster and up to 10 for its services, whose names end at 63; from
# 1.4 on it refuses longer ones, before that it cut them.
MAX_NAME = 47
NAME = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")  # DNS-1035, stricter than DNS-1123: no digit in front
GRACE_SECONDS = 120  # between SIGTERM and SIGKILL: for the node side to end in order
PRESTOP = ("-m", "cegppo_verl.launch.executors.kuberay_prestop")
# Ray's own way to end a job waits 3 seconds and kills.
_STOP_WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": str(GRACE_SECONDS)}
_SHM = "shared-memory"
_PLAIN = re.compile(r"(?!(?:true|false|yes|no|on|off|null|nan|inf)$)[A-Za-z/][A-Za-z0-9/_.-]+", re.IGNORECASE)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes every text but plain words.

    By itself it leaves 1e3 and 0o17 bare, texts in YAML 1.1, which kubectl's parser takes for numbers.
    """

    def ignore_aliases(self, data: object) -> bool:
        """No anchors: each pod is written out."""
        return True


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _quoted)


def manifest(task: Task, profile: KubeRayProfile) -> Json:
    """The RayJob of ``task``, JSON-ready.

    Raises:
        UserError: the task's name is not one that KubeRay takes.
    """
    if not NAME.fullmatch(task.name) or len(task.name) > MAX_NAME:
        hint = f"KubeRay takes at most {MAX_NAME} lower-case letters, digits and '-', a letter in front"
        raise UserError(f"'{task.name}' cannot be the name of a RayJob", hint=hint)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": _metadata(task, profile),
        "spec": _spec(task, profile),
    }


def text(task: Task, profile: KubeRayProfile) -> str:
    """The manifest as YAML."""
    data, width = manifest(task, profile), float("inf")
    dumped: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=width)
    return dumped


def run_directory(task: Task, profile: KubeRayProfile) -> str:
    """The task's run directory as the pods see it."""
    return pod_path(task.command[-1], profile.paths)


def pod_path(path: str, pairs: Sequence[PathPair]) -> str:
    """``path`` of the runner's machine as it reads in the pods: by the longest pair that covers it."""
    for pair in sorted(pairs, key=lambda pair: len(pair.here), reverse=True):
        if PurePosixPath(path).is_relative_to(pair.here):
            return str(PurePosixPath(pair.there) / PurePosixPath(path).relative_to(pair.here))
    return path


def _labels(task: Task) -> dict[str, str]:
    return {CELL_LABEL: task.cell.id, GRID_LABEL: _label_value(task.cell.grid)}


def _label_value(name: str) -> str:
    return name[:63].rstrip("-_.")  # a grid's name may have 64 characters, a label's value 63


def _metadata(task: Task, profile: KubeRayProfile) -> Json:
    kueue = {
        "kueue.x-k8s.io/queue-name": profile.queue,
        "kueue.x-k8s.io/priority-class": profile.priority_class,
    }
    return {
        "name": task.name,
        "namespace": profile.namespace,
        "labels": {**_labels(task), **{key: value for key, value in kueue.items() if value is not None}},
        "annotations": {
            RUN_ANNOTATION: run_directory(task, profile),
            "cegppo/slug": task.cell.slug,
            # Handed down to the Ray cluster: a lost head ends the job (KubeRay ≥ 1.6) instead of coming back
            # empty, as only the runner tells a passing cause from one that would return for ever.
            "ray.io/disable-provisioned-head-restart": "true",
        },
    }


def _spec(task: Task, profile: KubeRayProfile) -> Json:
    return {
        "entrypoint": _entrypoint(task, profile),
        # KubeRay hands the job in itself: no submitter pod that takes quota and can fail on its own.
        "submissionMode": "HTTPMode",
        "suspend": profile.queue is not None,  # Kueue lifts it when there is room
        "backoffLimit": 0,  # the runner retries, after a look at the cause
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": profile.ttl_seconds,
        "rayClusterSpec": _cluster(task, profile),
    }


def _cluster(task: Task, profile: KubeRayProfile) -> Json:
    # The head is a node like the others, GPUs included: Ray puts a job's entrypoint on the head, so the node
    # side runs there, and a cell of n nodes is n equal pods.
    head = {"rayStartParams": _ray_start(task, head=True), "template": _pod(task, profile, "ray-head")}
    cluster: Json = {"rayVersion": profile.ray_version, "headGroupSpec": head}
    workers = task.need.nodes - 1
    if workers:
        group = {
            "groupName": "workers",
            "replicas": workers,
            "minReplicas": workers,
            "maxReplicas": workers,
            "rayStartParams": _ray_start(task, head=False),
            "template": _pod(task, profile, "ray-worker"),
        }
        cluster["workerGroupSpecs"] = [group]
    return cluster


def _ray_start(task: Task, *, head: bool) -> dict[str, str]:
    # On the CPU platform both are units of admission, not hardware.
    logical = {"num-cpus": str(LOGICAL_CPUS)} if task.need.platform == "cpu" else {}
    dashboard = {"dashboard-host": "0.0.0.0"} if head else {}  # KubeRay hands the job in from outside
    return {**dashboard, **logical, "num-gpus": str(task.need.gpus_per_node)}


def _pod(task: Task, profile: KubeRayProfile, container: str) -> Json:
    optional = {
        "serviceAccountName": profile.service_account,
        "imagePullSecrets": [{"name": name} for name in profile.image_pull_secrets],
        "nodeSelector": dict(profile.node_selector),
        "tolerations": [toleration.model_dump(exclude_none=True) for toleration in profile.tolerations],
    }
    spec: Json = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        **{key: value for key, value in optional.items() if value},
        "containers": [_container(task, profile, container)],
        "volumes": _volumes(profile),
    }
    return {"metadata": {"labels": _labels(task)}, "spec": spec}


def _container(task: Task, profile: KubeRayProfile, name: str) -> Json:
    amounts = {"cpu": str(profile.cpus), "memory": profile.memory}
    if task.need.platform != "cpu":
        amounts[profile.gpu_resource] = str(task.need.gpus_per_node)
    container: Json = {
        "name": name,
        "image": profile.image,
        "imagePullPolicy": profile.image_pull_policy,
        "env": _environment(task, profile),
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "volumeMounts": _mounts(profile),
    }
    if name == "ray-head":
        # When a pod is to go (eviction, preemption by Kueue), the signal reaches the container's first
        # process, which is not the node side: this passes it on and waits for the end in order.
        command = ["bash", "-c", _script(PRESTOP, task, profile)]
        container["lifecycle"] = {"preStop": {"exec": {"command": command}}}
    return container


def _entrypoint(task: Task, profile: KubeRayProfile) -> str:
    script = _script(task.command[:-1], task, profile)
    return f"exec bash -c {shlex.quote(script)}" if profile.setup else script  # Ray's own shell is sh


def _script(module: Sequence[str], task: Task, profile: KubeRayProfile) -> str:
    words = [profile.python, *module, run_directory(task, profile)]
    # exec: the signal that ends a job reaches the interpreter, not a shell around it.
    return "\n".join([*profile.setup, f"exec {shlex.join(words)}"])


def _environment(task: Task, profile: KubeRayProfile) -> list[Json]:
    entries: dict[str, Json] = {
        name: {"valueFrom": {"secretKeyRef": {"name": place.secret, "key": place.key}}}
        for name, place in profile.secrets.items()
    }
    values = {**_STOP_WAIT, **profile.environment, **task.environment}
    # Kubernetes puts other variables in for $(NAME) and reads $$ as $.
    entries |= {name: {"value": value.replace("$", "$$")} for name, value in values.items()}
    return [{"name": name, **entry} for name, entry in entries.items()]


def _volumes(profile: KubeRayProfile) -> list[Json]:
    claims = dict.fromkeys(volume.claim for volume in profile.volumes)
    shm = {"name": _SHM, "emptyDir": {"medium": "Memory", "sizeLimit": profile.shm}}
    return [
        shm,
        *(
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(claims)
        ),
    ]


def _mounts(profile: KubeRayProfile) -> list[Json]:
    claims = list(dict.fromkeys(volume.claim for volume in profile.volumes))
    mounts: list[Json] = [{"name": _SHM, "mountPath": "/dev/shm"}]
    for volume in profile.volumes:
        mount: Json = {"name": f"claim-{claims.index(volume.claim)}", "mountPath": volume.mount}
        mount |= {"subPath": volume.sub_path} if volume.sub_path else {}
        mount |= {"readOnly": True} if volume.read_only else {}
        mounts.append(mount)
    return mounts

"""A cluster profile: the file that says how attempts are carried to one place (``cegppo run --cluster``)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.validation import Strict, reject, validate
from cegppo_verl.experiment.yaml_file import Document, read_yaml
from cegppo_verl.launch.executors.profile_fields import (
    EnvironmentName,
    EnvironmentValue,
    Label,
    PathPair,
    Quantity,
    SbatchOption,
    Secret,
    SingleLine,
    SlurmMemory,
    SlurmTime,
    Subdomain,
    Toleration,
    Url,
    Volume,
    quantity_bytes,
)


class _Common(Strict):
    """What every profile has."""

    python: SingleLine = Field(
        default_factory=lambda: sys.executable,
        description="the interpreter on the nodes that has this package; left out: the one that runs cegppo",
    )
    environment: dict[EnvironmentName, EnvironmentValue] = Field(
        default={},
        description="variables for every attempt; quote numbers and true/false",
    )
    setup: list[str] = Field(
        default=[], description="shell lines before the interpreter starts, e.g. 'module load cuda'"
    )
    max_jobs: int | None = Field(default=None, ge=1, description="most submissions at once; null: no limit")


class LocalProfile(_Common):
    """This machine: every attempt is a process with a Ray of its own."""

    executor: Literal["local"] = Field(description="local, ray, slurm or kuberay")
    gpus: int | None = Field(
        default=None, ge=0, description="how many GPUs the runner may use; null: those that are found"
    )


class RayProfile(_Common):
    """A Ray cluster that is already running, reached through its Jobs API."""

    executor: Literal["ray"] = Field(description="local, ray, slurm or kuberay")
    address: Url = Field(
        default="http://127.0.0.1:8265", description="the cluster's dashboard, where jobs are handed in"
    )
    ray_address: SingleLine = Field(default="auto", description="the cluster as its own nodes see it")
    metadata: dict[str, str] = Field(default={}, description="key: value pairs shown beside every Ray job")


class SlurmProfile(_Common):
    """A Slurm cluster: one job is one Ray cluster is one cell."""

    executor: Literal["slurm"] = Field(description="local, ray, slurm or kuberay")
    partition: SingleLine | None = Field(default=None, description="--partition; null: the cluster's default")
    account: SingleLine | None = Field(default=None, description="--account; null: your default")
    qos: SingleLine | None = Field(default=None, description="--qos; null: the account's default")
    time_limit: SlurmTime | None = Field(
        default=None, description="--time as H:MM:SS or D-HH:MM:SS; null: the partition's default"
    )
    constraint: SingleLine | None = Field(default=None, description="--constraint, e.g. 'h100'")
    cpus_per_gpu: int | None = Field(default=None, ge=1, description="CPU cores per GPU; null: unsaid")
    memory: SlurmMemory | None = Field(
        default=None, description="--mem per node, e.g. '512G'; '0' is all of it; null: unsaid"
    )
    gres_name: SingleLine | None = Field(
        default="gpu", description="the generic resource that counts GPUs; null: nodes have no such resource"
    )
    template: str | None = Field(
        default=None,
        description="your own Jinja2 template for the batch script, relative to this file; null: ours",
    )
    extra: list[SbatchOption] = Field(
        default=[], description="further sbatch options, one #SBATCH line each, e.g. '--exclusive'"
    )
    requeue: bool = Field(default=True, description="let Slurm start a job again that it preempted")


class KubeRayProfile(_Common):
    """A Kubernetes cluster with the KubeRay operator: one RayJob is one cell."""

    executor: Literal["kuberay"] = Field(description="local, ray, slurm or kuberay")
    image: SingleLine = Field(description="the container image with this package, verl and Ray")
    python: SingleLine = Field(default="python", description="the interpreter inside the image")
    ray_version: SingleLine = Field(description="version of Ray inside the image, e.g. '2.60.0'")
    cpus: int = Field(ge=1, description="CPU cores of each pod")
    memory: Quantity = Field(description="memory of each pod, e.g. 512Gi")
    shm: Quantity = Field(
        default="64Gi", description="/dev/shm of each pod, counted in its memory: Ray's object store and NCCL"
    )
    gpu_resource: SingleLine = Field(
        default="nvidia.com/gpu", description="the name under which nodes offer GPUs"
    )
    namespace: Label = Field(default="default", description="the Kubernetes namespace")
    context: SingleLine | None = Field(
        default=None, description="kubectl's context; null: the current one, which may change under a runner"
    )
    kubectl: SingleLine = Field(default="kubectl", description="the kubectl program")
    queue: Label | None = Field(default=None, description="Kueue local queue; null: no Kueue")
    priority_class: Label | None = Field(
        default=None, description="Kueue workload priority class; needs a queue"
    )
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="when nodes fetch the image"
    )
    image_pull_secrets: list[Subdomain] = Field(
        default=[], description="names of the secrets that open a private image registry"
    )
    service_account: Subdomain | None = Field(default=None, description="the pods' service account")
    volumes: list[Volume] = Field(
        default=[], description="persistent volume claims and where each is mounted"
    )
    paths: list[PathPair] = Field(
        default=[], description="how a path of the runner's machine reads inside the pods"
    )
    secrets: dict[EnvironmentName, Secret] = Field(
        default={}, description="variables whose values stay in a Kubernetes secret, e.g. WANDB_API_KEY"
    )
    node_selector: dict[str, str] = Field(default={}, description="labels a node must have")
    tolerations: list[Toleration] = Field(default=[], description="taints the pods put up with")
    ttl_seconds: int = Field(
        default=0, ge=0, description="how long a finished cell keeps its pods, and so its GPUs, seconds"
    )

    @model_validator(mode="after")
    def _whole(self) -> KubeRayProfile:
        for name in self.secrets:
            if name in self.environment:
                fix = "keep one of the two"
                raise reject(f"secrets.{name}", f"'{name}' is under environment as well", fix)
        if self.priority_class is not None and self.queue is None:
            raise reject("priority_class", "a priority class needs a queue", "name the Kueue local queue")
        if quantity_bytes(self.shm) > quantity_bytes(self.memory):
            fix = "what lies in /dev/shm counts in the pod's memory: write less than memory"
            raise reject("shm", f"{self.shm} do not fit into {self.memory} of memory", fix)
        mounts = ["/dev/shm", *(volume.mount for volume in self.volumes)]
        for index, mount in enumerate(mounts):
            if mount in mounts[:index]:
                fix = "give every volume a mount of its own; /dev/shm is taken"
                raise reject("volumes", f"'{mount}' is mounted twice", fix)
        return self


Profile = LocalProfile | RayProfile | SlurmProfile | KubeRayProfile

MODELS: dict[str, type[LocalProfile] | type[RayProfile] | type[SlurmProfile] | type[KubeRayProfile]] = {
    "local": LocalProfile,
    "ray": RayProfile,
    "slurm": SlurmProfile,
    "kuberay": KubeRayProfile,
}


def load_profile(path: str | Path) -> Profile:
    """Read and check a cluster profile.

    Raises:
        UserError: with file, key path, line, nearest valid name and fix.
    """
    try:
        document = read_yaml(path)
        model = MODELS[_executor(document)]
        return _resolved(validate(model, document.data, document), document)
    except UserError as error:
        raise _with_own_example(error) from error


def default_profile(name: str) -> Profile:
    """The profile of ``--executor NAME`` without a file.

    Raises:
        UserError: no such executor, or one that cannot be used without being told more.
    """
    if name not in MODELS:
        raise UserError(f"unknown executor '{name}'", key="--executor", hint=did_you_mean(name, MODELS))
    required = [key for key, field in MODELS[name].model_fields.items() if field.is_required()]
    if required != ["executor"]:
        hint = f"`cegppo cluster {name} > cluster.yaml`, edit it, and give --cluster cluster.yaml"
        missing = ", ".join(key for key in required if key != "executor")
        raise UserError(f"{name} needs a cluster profile (for {missing})", key="--executor", hint=hint)
    return validate(MODELS[name], {"executor": name})


def _executor(document: Document) -> str:
    name = document.data.get("executor")
    if isinstance(name, str) and name in MODELS:
        return name
    line = document.line(("executor",)) if "executor" in document.data else None
    place = f" (line {line})" if line else ""
    if name is None:
        fix = f"write 'executor: NAME', NAME one of: {', '.join(MODELS)}"
        raise UserError(f"this key is required{place}", file=document.file, key="executor", hint=fix)
    hint = did_you_mean(str(name), MODELS)
    raise UserError(f"unknown executor '{name}'{place}", file=document.file, key="executor", hint=hint)


def _resolved(profile: Profile, document: Document) -> Profile:
    if not isinstance(profile, SlurmProfile) or profile.template is None:
        return profile
    template = (document.file.parent / Path(profile.template).expanduser()).resolve()
    if not template.is_file():
        line = document.line(("template",))
        message = f"no such file: {template} (line {line})"
        raise UserError(message, file=document.file, key="template", hint="check the path, or write null")
    return profile.model_copy(update={"template": str(template)})


def _with_own_example(error: UserError) -> UserError:
    # The reader of YAML files and the validator point to an example grid, which is of no help here.
    hint = (error.hint or "").replace("ablations/demo.yaml", "`cegppo cluster NAME`")
    return UserError(error.message, file=error.file, key=error.key, hint=hint or None)

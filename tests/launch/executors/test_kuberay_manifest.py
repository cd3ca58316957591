"""RayJob manifests: KubeRay's published schema takes them, and no text in them turns into something else."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from launch.executors import kuberay_cases as cases
from launch.executors.crd_schema import NotInSchemaError, prune, rayjob_schema

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.validation import validate
from cegppo_verl.launch.executors import kuberay_manifest
from cegppo_verl.launch.executors.kuberay_manifest import manifest, pod_path, text
from cegppo_verl.launch.executors.profile import KubeRayProfile
from cegppo_verl.launch.executors.profile_fields import PathPair

SCHEMA = json.loads((Path(__file__).parent / "data" / "rayjob_schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MANIFESTS = cases.every_manifest()
FULL = validate(KubeRayProfile, cases.FULL)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_published_schema_takes_it(name: str) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(MANIFESTS[name])] == []


def parts(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key that the schema names, not those a person chooses."""
    if isinstance(node, dict):
        for key, value in node.items():
            chosen = path and path[-1] in ("labels", "annotations", "nodeSelector", "rayStartParams")
            if not (chosen or (path and path[-1] in ("limits", "requests"))):
                yield (*path, key)
                yield from parts(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from parts(value, (*path, index))


def test_any_misspelt_key_is_refused() -> None:
    whole = MANIFESTS["everything"]
    paths = list(parts(whole))
    assert len(paths) > 100
    for path in paths:
        changed = copy.deepcopy(whole)
        here: Any = changed
        for part in path[:-1]:
            here = here[part]
        here[f"{path[-1]}x"] = here.pop(path[-1])
        assert not VALIDATOR.is_valid(changed), path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("backoffLimit",), "0"),
        (("suspend",), "true"),
        (("rayClusterSpec", "rayVersion"), 2.6),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-gpus"), 8),
        (("rayClusterSpec", "workerGroupSpecs", 0, "replicas"), 1.5),
    ],
)
def test_wrong_types_are_refused(path: tuple[Any, ...], value: object) -> None:
    changed = copy.deepcopy(MANIFESTS["everything"])
    here: Any = changed["spec"]
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    assert not VALIDATOR.is_valid(changed)


def test_schema_says_where_it_is_from() -> None:
    assert re.search(r"kuberay.*[0-9a-f]{40}.*Apache License 2.0", SCHEMA["$comment"])


# KubeRay's own rules (ray-operator/controllers/ray/utils/validation.go), which no schema holds.
@pytest.mark.parametrize("name", MANIFESTS)
def test_the_operators_own_rules_hold(name: str) -> None:
    job = MANIFESTS[name]
    spec, meta = job["spec"], job["metadata"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", meta["name"])
    assert spec["shutdownAfterJobFinishes"] or not spec["suspend"]
    for group in spec["rayClusterSpec"].get("workerGroupSpecs", []):
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for pod in pods(job):
        volumes = [volume["name"] for volume in pod["volumes"]]
        mounts = pod["containers"][0]["volumeMounts"]
        env = [entry["name"] for entry in pod["containers"][0]["env"]]
        assert len(set(volumes)) == len(volumes)
        assert {mount["name"] for mount in mounts} == set(volumes)
        assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
        assert len(set(env)) == len(env)


LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@pytest.mark.parametrize("name", MANIFESTS)
def test_label_values_are_ones(name: str) -> None:
    labels = MANIFESTS[name]["metadata"]["labels"]
    assert {key: value for key, value in labels.items() if not LABEL_VALUE.fullmatch(value)} == {}


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize(("nodes", "workers"), [(1, None), (2, 1), (5, 4)])
def test_a_cell_of_n_nodes_is_n_equal_pods(nodes: int, workers: int | None) -> None:
    job = manifest(cases.task(nodes=nodes, gpus=4), cases.profile())
    groups = job["spec"]["rayClusterSpec"].get("workerGroupSpecs", [])
    assert [group["replicas"] for group in groups] == ([] if workers is None else [workers])
    limits = [pod["containers"][0]["resources"]["limits"] for pod in pods(job)]
    assert all(limit == {"cpu": "32", "memory": "512Gi", "nvidia.com/gpu": "4"} for limit in limits)


def test_cpu_cells_take_logical_gpus() -> None:
    job = MANIFESTS["cpu"]
    (pod,) = pods(job)
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-gpus"] == "2"
    assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]


def test_with_a_queue_it_waits_to_be_admitted() -> None:
    assert MANIFESTS["one node"]["spec"]["suspend"] is False
    assert MANIFESTS["kueue"]["spec"]["suspend"] is True
    labels = MANIFESTS["everything"]["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "gpu-queue"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"
    assert not [key for key in MANIFESTS["one node"]["metadata"]["labels"] if "kueue" in key]


# What YAML 1.1 or 1.2 reads a bare word as, text aside; kubectl's parser mixes both.
NOT_TEXT = re.compile(
    r"[-+]?\.?[0-9].*|[-+]?\.(?:inf|nan)|~||null|true|false|yes|no|on|off|y|n|<<|=", re.IGNORECASE
)


def test_no_text_turns_into_something_else() -> None:
    dumped = text(cases.hostile_task(), FULL)
    assert yaml.safe_load(dumped) == MANIFESTS["hostile"]
    nodes = [yaml.compose(dumped, yaml.SafeLoader)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.ScalarNode):
            bare_text = node.style is None and node.tag.endswith(":str")
            assert not (bare_text and NOT_TEXT.fullmatch(node.value)), node.value
        else:
            children = node.value
            nodes += [n for pair in children for n in (pair if isinstance(pair, tuple) else (pair,))]


def expanded(value: str, known: dict[str, str]) -> str:
    """Kubernetes' expansion of $(NAME) and $$ in the value of a variable."""
    names = "|".join(map(re.escape, known))
    return re.sub(
        rf"\$(?:(\$)|\(({names})\))", lambda m: "$" if m.group(1) else known[m.group(2)], value, flags=re.S
    )


def test_values_reach_the_pod_unchanged() -> None:
    for pod in pods(yaml.safe_load(text(cases.hostile_task(), FULL))):
        env = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"] if "value" in entry}
        arrived = {name: expanded(value, env) for name, value in env.items()}
        assert {name: arrived[name] for name in cases.HOSTILE_VALUES} == cases.HOSTILE_VALUES


def test_a_secret_is_named_not_shown() -> None:
    (entry,) = (e for e in pods(MANIFESTS["everything"])[0]["containers"][0]["env"] if "valueFrom" in e)
    assert entry == {
        "name": "WANDB_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "api-key"}},
    }


@pytest.mark.parametrize("setup", [[], ["export FROM_SETUP='it''s'", "true"]])
def test_entrypoint_and_prestop_are_what_a_shell_executes(tmp_path: Path, setup: list[str]) -> None:
    python = tmp_path / "my python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$FROM_SETUP" "$@"\n')
    python.chmod(0o755)
    job = manifest(cases.task(run=cases.HOSTILE_RUN), cases.profile(setup=setup, python=str(python)))
    there = cases.HOSTILE_RUN.replace("/lustre", "/mnt/lustre", 1)
    first = ["its"] if setup else [""]
    entrypoint = subprocess.run(job["spec"]["entrypoint"], shell=True, capture_output=True, text=True)
    assert entrypoint.stdout.splitlines() == [*first, "-m", "cegppo_verl.launch.node", there]
    hook = pods(job)[0]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    prestop = subprocess.run(hook, capture_output=True, text=True)
    assert prestop.stdout.splitlines() == [*first, *kuberay_manifest.PRESTOP, there]


def test_the_entrypoint_leaves_no_shell_in_between() -> None:
    assert shlex.split(MANIFESTS["one node"]["spec"]["entrypoint"])[:2] == ["exec", "python"]
    assert MANIFESTS["everything"]["spec"]["entrypoint"].startswith("exec bash -c ")
    assert "\nexec python" in MANIFESTS["everything"]["spec"]["entrypoint"]


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/lustre/a/b", "/mnt/a/b"),
        ("/lustre/big/b", "/big/b"),
        ("/lustre", "/mnt"),
        ("/lustrexx/a", "/lustrexx/a"),
        ("/other", "/other"),
    ],
)
def test_paths_read_as_in_the_pods(path: str, there: str) -> None:
    pairs = [PathPair(here="/lustre", there="/mnt"), PathPair(here="/lustre/big", there="/big")]
    assert pod_path(path, pairs) == there


@pytest.mark.parametrize("name", ["Cegppo-1", "1cegppo", "cegppo_1", "cegppo-", "c" * 48, ""])
def test_names_that_kuberay_refuses(name: str) -> None:
    with pytest.raises(UserError, match="at most 47"):
        manifest(cases.task(name), cases.profile())


def test_the_longest_name_leaves_room_for_what_kuberay_appends() -> None:
    assert manifest(cases.task("c" * 47), cases.profile())["metadata"]["name"] == "c" * 47
    assert kuberay_manifest.MAX_NAME + len("-abcde") + len("-serve-svc") == 63


CRD: dict[str, Any] = {
    "spec": {
        "group": "ray.io",
        "names": {"kind": "RayJob"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "spec": {
                                "type": "object",
                                "description": "not kept",
                                "required": ["must"],
                                "properties": {
                                    "must": {"type": "string", "enum": ["a", "b"]},
                                    "unused": {"type": "string"},
                                    "list": {"type": "array", "items": {"type": "object", "properties": {}}},
                                },
                            },
                        },
                    }
                },
            }
        ],
    }
}


def test_pruning_keeps_what_refuses() -> None:
    small = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "x"}, "spec": {"must": "a"}}
    schema = rayjob_schema(CRD, [small], "test")
    check = jsonschema.Draft202012Validator(schema).is_valid
    assert check(small)
    for spec in ({}, {"must": "c"}, {"must": 1}, {"must": "a", "unused": "x"}, {"must": "a", "new": 1}):
        assert not check({**small, "spec": spec}), spec
    assert not check({**small, "kind": "RayCluster"})
    assert "not kept" not in json.dumps(schema)


def test_pruning_says_what_the_crd_lacks() -> None:
    whole = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    with pytest.raises(NotInSchemaError, match=r"\.spec\.list\[\] has no other"):
        prune(whole, [{"spec": {"list": [{"other": 1}]}}])

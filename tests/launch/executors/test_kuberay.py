"""The KubeRay executor against a ``kubectl`` that keeps its state in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from launch.executors import kuberay_cases as cases

from cegppo_verl.errors import UserError
from cegppo_verl.launch.executors import kuberay_kubectl, kuberay_prestop, registry
from cegppo_verl.launch.executors.base import JobState, JobStatus, NameTakenError, SubmitError
from cegppo_verl.launch.executors.kuberay import KubeRayExecutor
from cegppo_verl.launch.executors.kuberay_status import _STATES, job_status

PROGRAM = Path(__file__).with_name("fake_kubectl.py")
CLUSTER: dict[str, Any] = {
    "kinds": ["rayclusters.ray.io", "rayjobs.ray.io"],
    "rights": ["create", "list", "delete"],
    "context": "here",
    "localqueues.kueue.x-k8s.io": ["gpu-queue", "other"],
    "workloadpriorityclasses.kueue.x-k8s.io": ["high"],
    "nodes": [
        {"metadata": {"labels": {"pool": "h100"}}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}},
        {"metadata": {"labels": {"pool": "t4"}}, "status": {"allocatable": {"nvidia.com/gpu": "1"}}},
        {"metadata": {"labels": {"pool": "cpu"}}, "status": {"allocatable": {}}},
    ],
}
NAME = cases.task().name


class Cluster:
    """The state of the fake, and an executor that talks to it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "jobs").mkdir()
        self.program = home / "kubectl"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "{home}/run.py" "$@"\n')
        site = [path for path in sys.path if path.endswith("site-packages")]
        (home / "run.py").write_text(
            f"import os, runpy, sys\nos.environ['FAKE_KUBECTL'] = {str(home)!r}\nsys.path += {site!r}\n"
            f"sys.argv[0] = {str(PROGRAM)!r}\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        self.program.chmod(0o755)
        self.has()
        self.fails()

    def has(self, **changes: Any) -> None:
        (self.home / "cluster.json").write_text(json.dumps({**CLUSTER, **changes}))

    def lacks(self, kind: str) -> None:
        (self.home / "cluster.json").write_text(json.dumps({k: v for k, v in CLUSTER.items() if k != kind}))

    def fails(self, **verbs: dict[str, Any]) -> None:
        (self.home / "fail.json").write_text(json.dumps(verbs))

    def executor(self, **changes: Any) -> KubeRayExecutor:
        return KubeRayExecutor(cases.profile(kubectl=str(self.program), **changes))

    def calls(self, verb: str) -> list[dict[str, Any]]:
        log = self.home / "calls.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if verb in call["arguments"]]

    def job(self, name: str = NAME) -> dict[str, Any]:
        return json.loads((self.home / "jobs" / f"{name}.json").read_text())

    def set_status(self, name: str = NAME, **status: Any) -> None:
        (self.home / "jobs" / f"{name}.json").write_text(json.dumps({**self.job(name), "status": status}))

    def forget(self, name: str = NAME) -> None:
        (self.home / "jobs" / f"{name}.json").unlink()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    home = tmp_path / "a cluster"
    home.mkdir()
    return Cluster(home)


def test_registry_makes_it() -> None:
    made = registry.make(cases.profile())
    assert (made.name, made.detached, made.capacity()) == ("kuberay", True, None)


def test_a_job_from_submission_to_its_end(cluster: Cluster) -> None:
    executor = cluster.executor(namespace="team-a")
    assert executor.submit(cases.task()) == f"team-a/{NAME}"
    assert executor.statuses([NAME]) == {NAME: JobStatus(JobState.QUEUED)}
    cluster.set_status(jobDeploymentStatus="Running", jobStatus="RUNNING")
    assert executor.statuses([NAME])[NAME].state is JobState.RUNNING
    cluster.set_status(jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    assert executor.statuses([NAME])[NAME] == JobStatus(JobState.ENDED, exit_code=0)
    cluster.forget()
    assert executor.statuses([NAME])[NAME] == JobStatus(JobState.ENDED)
    executor.close()


def test_what_is_submitted_is_what_a_dry_run_writes(cluster: Cluster) -> None:
    executor = cluster.executor()
    task = cases.hostile_task()
    executor.submit(task)
    (call,) = cluster.calls("create")
    assert call["input"] == executor.files(task)["rayjob.yaml"]
    assert cluster.job(task.name) == yaml.safe_load(executor.files(task)["rayjob.yaml"])


def test_files_asks_nobody(cluster: Cluster) -> None:
    cluster.executor().files(cases.task())
    assert cluster.calls("create") == cluster.calls("config") == []


def test_every_call_names_context_namespace_and_a_time_limit(cluster: Cluster) -> None:
    executor = cluster.executor(namespace="team-a")
    executor.submit(cases.task())
    cluster.has(context="elsewhere")  # somebody changes it while the runner waits
    executor.statuses([NAME])
    executor.cancel(NAME)
    for verb in ("create", "get", "delete"):
        (call,) = cluster.calls(verb)
        assert {"--context=here", "--namespace=team-a", "--request-timeout=10s"} <= set(call["arguments"])


def test_inside_a_pod_there_is_no_context(cluster: Cluster) -> None:
    cluster.has(context=None)
    cluster.executor().submit(cases.task())
    assert not [a for a in cluster.calls("create")[0]["arguments"] if a.startswith("--context")]


def test_a_name_is_submitted_once(cluster: Cluster) -> None:
    executor = cluster.executor()
    fresh = replace(cases.task(), fresh=True)
    assert executor.submit(fresh) == executor.submit(fresh) == executor.submit(cases.task())
    cluster.set_status(jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    assert executor.submit(cases.task())
    with pytest.raises(NameTakenError):  # nothing was handed over from this folder: it is of an earlier one
        executor.submit(fresh)


def test_a_name_of_another_run_directory_is_no_success(cluster: Cluster) -> None:
    cluster.executor().submit(cases.task(run="/lustre/somebody/else"))
    with pytest.raises(SubmitError, match="another run directory, /mnt/lustre/somebody/else") as caught:
        cluster.executor().submit(cases.task())
    assert not caught.value.passing
    cluster.fails(get={"error": "Unable to connect to the server"})
    with pytest.raises(SubmitError, match="cannot be read") as caught:
        cluster.executor().submit(cases.task())
    assert caught.value.passing


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        ("Unable to connect to the server: dial tcp 10.0.0.1:443: connect: connection refused", True),
        ("Error from server (Timeout): the server was unable to return a response", True),
        ('Error from server (Forbidden): rayjobs.ray.io "x" is forbidden: exceeded quota: count', True),
        ("Error from server (TooManyRequests): Too many requests", True),
        ('Error from server (Forbidden): rayjobs.ray.io is forbidden: User "a" cannot create', False),
        ('error: unknown field "spec.suspendd"', False),
        ('no matches for kind "RayJob" in version "ray.io/v1"', False),
        ('namespaces "team-b" not found', False),
        ("error: You must be logged in to the server (Unauthorized)", False),
    ],
)
def test_refusals_that_pass_and_that_do_not(cluster: Cluster, error: str, passing: bool) -> None:
    cluster.fails(create={"error": error})
    with pytest.raises(SubmitError) as caught:
        cluster.executor().submit(cases.task())
    assert caught.value.passing is passing
    assert error in str(caught.value)


def test_silence_is_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kuberay_kubectl, "CALL_SECONDS", 0.5)
    cluster.fails(get={"seconds": 30}, create={"seconds": 30})
    executor = cluster.executor(context="here")
    began = time.monotonic()
    assert executor.statuses([NAME])[NAME].state is JobState.UNKNOWN
    with pytest.raises(SubmitError, match="did not return") as caught:
        executor.submit(cases.task())
    assert caught.value.passing
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "failure",
    [
        {"error": "Unable to connect to the server: EOF"},
        {"code": 0, "out": '{"items": [{"metadata": {"na'},
        {"code": 0, "out": "null"},
        {"code": 0, "out": "[]"},
        {"code": 0, "out": '{"items": {}}'},
        {"code": 0, "out": '{"items": [null]}'},
        {"code": 0, "out": '{"items": [{"metadata": {"name": "x"}, "status": "Running"}]}'},
        {"code": 0, "out": ""},
    ],
)
def test_without_a_whole_answer_nothing_is_concluded(cluster: Cluster, failure: dict[str, Any]) -> None:
    executor = cluster.executor()
    executor.submit(cases.task())
    cluster.fails(get=failure)
    found = executor.statuses([NAME, "cegppo-other-1"])
    assert {status.state for status in found.values()} == {JobState.UNKNOWN}
    assert all(status.reason for status in found.values())


def test_a_lost_program_is_not_a_lost_job(cluster: Cluster) -> None:
    executor = cluster.executor(context="here")
    cluster.program.unlink()
    assert executor.statuses([NAME])[NAME].state is JobState.UNKNOWN
    executor.cancel(NAME)  # does not raise


def test_one_question_for_all(cluster: Cluster) -> None:
    executor = cluster.executor()
    names = [f"cegppo-0123456789ab-{n}" for n in range(1, 4)]
    for name in names[:2]:
        executor.submit(cases.task(name))
    found = executor.statuses(names)
    assert [found[name].state for name in names] == [JobState.QUEUED, JobState.QUEUED, JobState.ENDED]
    assert len(cluster.calls("get")) == 1
    assert executor.statuses([]) == {}


def test_a_cancelled_job_runs_until_its_pods_have_gone(cluster: Cluster) -> None:
    executor = cluster.executor()
    executor.submit(cases.task())
    cluster.set_status(jobDeploymentStatus="Running")
    executor.cancel(NAME)
    assert "--cascade=foreground" in cluster.calls("delete")[0]["arguments"]
    assert executor.statuses([NAME])[NAME] == JobStatus(JobState.RUNNING, reason="being deleted")
    cluster.forget()
    assert executor.statuses([NAME])[NAME].state is JobState.ENDED
    executor.cancel("cegppo-unknown-1")


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        ({}, JobState.QUEUED, None),
        ({"jobDeploymentStatus": "Initializing"}, JobState.QUEUED, "Initializing"),
        ({"jobDeploymentStatus": "Suspended"}, JobState.QUEUED, "Suspended"),
        ({"jobDeploymentStatus": "Suspending"}, JobState.RUNNING, "Suspending"),
        ({"jobDeploymentStatus": "Retrying"}, JobState.RUNNING, "Retrying"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, JobState.ENDED, None),
        (
            {"jobDeploymentStatus": "Failed", "reason": "AppFailed", "message": "exit\n code 1 "},
            JobState.ENDED,
            "Failed: AppFailed: exit code 1",
        ),
        (
            {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed", "message": "too long"},
            JobState.ENDED,
            "ValidationFailed: too long",
        ),
        ({"jobDeploymentStatus": "Paused"}, JobState.UNKNOWN, "KubeRay says 'Paused'"),
    ],
)
def test_words_of_kuberay(status: dict[str, Any], state: JobState, reason: str | None) -> None:
    assert job_status({"metadata": {"name": "x"}, "status": status}) == JobStatus(state, reason)


def test_every_word_of_the_api_is_known() -> None:
    words = "Initializing Running Complete Failed ValidationFailed Suspending Suspended Retrying Waiting"
    assert set(_STATES) == {"", *words.split()}


QUEUED = {"queue": "gpu-queue", "priority_class": "high"}


def test_check_passes_where_all_is_there(cluster: Cluster) -> None:
    cluster.executor(**QUEUED, node_selector={"pool": "h100"}).check([cases.task(), cases.task(nodes=4)])
    assert cluster.calls("create")[0]["arguments"][-3:] == ["can-i", "create", "rayjobs.ray.io"]
    assert list((cluster.home / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "state", "key", "words"),
    [
        ({"kubectl": "no-such-kubectl"}, {}, None, "no program 'no-such-kubectl'"),
        ({}, {"kinds": ["rayclusters.ray.io"]}, "context", "does not know RayJobs"),
        ({}, {"rights": ["list", "delete"]}, "namespace", "may not create RayJobs in namespace 'default'"),
        ({}, {"rights": ["create", "list"]}, "namespace", "may not delete"),
        ({"queue": "gpu-quee"}, {}, "queue", "did you mean 'gpu-queue'"),
        ({"queue": "a"}, {"localqueues.kueue.x-k8s.io": []}, "queue", "there is none yet"),
        ({"queue": "other", "priority_class": "hihg"}, {}, "priority_class", "did you mean 'high'"),
        ({"node_selector": {"pool": "t4"}}, {}, "node_selector", "at most 1"),
        ({"volumes": []}, {}, "volumes", "lies on no volume"),
        ({"volumes": [{"claim": "c", "mount": "/data"}]}, {}, "volumes", "mounts now: /data"),
        ({"paths": []}, {}, "volumes", "lies on no volume"),
        (
            {"volumes": [{"claim": "c", "mount": "/mnt/lustre", "read_only": True}]},
            {},
            "volumes",
            "for reading only",
        ),
    ],
)
def test_check_names_what_is_missing(
    cluster: Cluster, changes: dict[str, Any], state: dict[str, Any], key: str | None, words: str
) -> None:
    cluster.has(**state)
    profile = cases.profile(**{"kubectl": str(cluster.program), **changes})
    with pytest.raises(UserError) as caught:
        KubeRayExecutor(profile).check([cases.task()])
    assert caught.value.key == key
    assert words in str(caught.value)
    assert caught.value.hint


def test_check_of_an_api_that_does_not_answer(cluster: Cluster) -> None:
    cluster.fails(**{"api-resources": {"error": "Unable to connect to the server: no route to host"}})
    with pytest.raises(UserError, match=r"does not answer.*no route to host"):
        cluster.executor().check([cases.task()])


def test_check_without_kueue(cluster: Cluster) -> None:
    cluster.lacks("localqueues.kueue.x-k8s.io")
    with pytest.raises(UserError, match="has no Kueue"):
        cluster.executor(queue="gpu-queue").check([cases.task()])


def test_check_concludes_nothing_from_nodes_that_it_cannot_see(cluster: Cluster) -> None:
    cluster.executor(node_selector={"pool": "scaled-to-zero"}).check([cases.task()])
    cluster.executor(node_selector={"pool": "t4"}).check([cases.task(platform="cpu")])
    cluster.fails(get={"error": "Error from server (Forbidden): nodes is forbidden"})
    cluster.executor(**QUEUED).check([cases.task()])


NODE_SIDE = "import signal, sys, time; signal.signal(15, lambda *_: (time.sleep({seconds}), sys.exit(0)));"


def node_side(tmp_path: Path, run: str, seconds: float) -> subprocess.Popen[str]:
    """A process that looks like the node side of ``run`` and takes ``seconds`` to end in order."""
    package = tmp_path / "cegppo_verl" / "launch"
    package.mkdir(parents=True, exist_ok=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "node.py").write_text(
        NODE_SIDE.format(seconds=seconds) + "print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-m", kuberay_prestop.NODE_MODULE, run]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_prestop_ends_its_node_side_in_order_and_no_other(tmp_path: Path) -> None:
    mine, other = node_side(tmp_path, "/runs/a", 0.5), node_side(tmp_path, "/runs/b", 0)
    try:
        assert kuberay_prestop.main(["/runs/a"]) == 0
        assert mine.wait(timeout=1) == 0  # by its own exit, not by the signal
        assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()


def test_prestop_does_not_wait_for_ever(tmp_path: Path) -> None:
    stubborn = node_side(tmp_path, "/runs/a", 60)
    try:
        assert kuberay_prestop.main(["/runs/a"], patience=0.5) == 1
        assert stubborn.poll() is None
    finally:
        os.kill(stubborn.pid, signal.SIGKILL)
        stubborn.wait()
    assert kuberay_prestop.main(["/runs/a"]) == 0  # nothing left to end

"""The Ray executor on a real cluster of three nodes: a head without CPUs, nodes with 2 and 4 logical GPUs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from launch.executors.ray_cluster import RayCluster, wait_for

from cegppo_verl.errors import UserError
from cegppo_verl.launch.executors.base import JobState, JobStatus, Need, SubmitError, Task
from cegppo_verl.launch.executors.profile import RayProfile
from cegppo_verl.launch.executors.ray_jobs import RayExecutor
from cegppo_verl.launch.executors.ray_status import FORGOTTEN
from cegppo_verl.records.rundir import RunDir

pytest.importorskip("ray")

Make = Callable[..., Task]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """The token is known, but nobody said that this cluster wants it: it is sent when asked for."""
    cluster = RayCluster()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("RAY_AUTH_MODE", raising=False)
            patch.setenv("RAY_AUTH_TOKEN", cluster.token)
            cluster.start_head()
            cluster.start_node(2)
            cluster.start_node(4)
            patch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # of another cluster: not to be followed
            yield cluster
    finally:
        cluster.close()


@pytest.fixture
def executor(cluster: RayCluster) -> RayExecutor:
    return RayExecutor(RayProfile(executor="ray", address=cluster.address, environment={"FROM": "profile"}))


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    def task(
        code: str = "import time; time.sleep(1000)", name: str = "1", nodes: int = 1, gpus: int = 0
    ) -> Task:
        """A task that runs ``code`` in the place of the node command, with the run directory as argument."""
        cell: Any = SimpleNamespace(id="0123456789ab", slug="a__toy-s__seed1", grid="demo")
        return Task(
            name=f"cegppo-{request.node.name}-{name}",
            cell=cell,
            run=RunDir(tmp_path),
            need=Need(nodes, gpus, "cpu"),
            command=("-c", code, str(tmp_path)),
            environment={"FROM": "task", "TEXT": 'it\'s "here" $HOME'},
        )

    return task


def state(executor: RayExecutor, task: Task) -> JobStatus:
    return executor.statuses([task.name])[task.name]


def reach(executor: RayExecutor, task: Task, wanted: JobState) -> JobStatus:
    wait_for(lambda: state(executor, task).state in (wanted, JobState.ENDED))
    assert state(executor, task).state is wanted, state(executor, task)
    return state(executor, task)


def test_a_cluster_that_is_large_enough_passes_the_check(executor, make):
    executor.check([make(gpus=4), make(nodes=3, gpus=2), make(nodes=1, gpus=0)])
    with pytest.raises(UserError, match=r"a__toy-s__seed1 needs 2 x 4 GPUs.*nodes with 4, 2"):
        executor.check([make(gpus=4), make(nodes=2, gpus=4)])


def test_a_wrong_token_is_explained(executor, make, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    with pytest.raises(SubmitError, match="refuses the token") as caught:
        executor.check([])
    assert "get-auth-token" in str(caught.value)
    assert not caught.value.passing


ECHO = """
import os, pathlib, sys, time
run = pathlib.Path(sys.argv[1])
with (run / "seen").open("a") as file:
    print(os.environ["FROM"], os.environ["TEXT"], os.environ["RAY_ADDRESS"], file=file)
while not (run / "go").exists(): time.sleep(0.1)
"""


def test_a_job_runs_once_however_often_it_is_submitted(cluster, executor, make, tmp_path):
    task = make(ECHO)
    assert state(executor, task) == FORGOTTEN
    assert executor.submit(task) == executor.submit(task) == task.name
    assert state(executor, task).state in (JobState.QUEUED, JobState.RUNNING)
    reach(executor, task, JobState.RUNNING)
    assert executor.submit(task) == task.name
    wait_for((tmp_path / "seen").exists)
    job = cluster.dashboard().ask("GET", f"/api/jobs/{task.name}").json()
    head = next(node["node_id"] for node in cluster.alive() if node["is_head_node"])
    assert job["driver_node_id"] != head
    assert job["metadata"]["cegppo_cell"] == "0123456789ab"
    (tmp_path / "go").touch()
    assert reach(executor, task, JobState.ENDED) == JobStatus(JobState.ENDED, exit_code=0)
    assert executor.submit(task) == task.name
    seen = (tmp_path / "seen").read_text().splitlines()
    assert len(seen) == 1
    assert seen[0].startswith('task it\'s "here" $HOME ')
    assert seen[0].endswith(f":{cluster.port}")


def test_the_name_of_another_run_directory_is_refused(executor, make, tmp_path):
    task = make("pass")
    executor.submit(task)
    other = Task(task.name, task.cell, RunDir(tmp_path / "other"), task.need, task.command)
    with pytest.raises(SubmitError, match="exists for another run directory"):
        executor.submit(other)


def test_a_job_that_fails_says_how_and_setup_lines_count(cluster, make):
    def run(task: Task, *setup: str) -> JobStatus:
        profile = RayProfile(executor="ray", address=cluster.address, setup=list(setup))
        executor = RayExecutor(profile)
        executor.submit(task)
        return reach(executor, task, JobState.ENDED)

    code = "import os, sys; sys.exit(int(os.environ.get('CODE', 1)))"
    status = run(make(code, "a"), "function module { export CODE=$1; }", "module 7")
    assert status.exit_code == 7
    assert status.reason == "Job entrypoint command failed with exit code 7"
    assert run(make(code, "b"), "export CODE=0", "no-such-program").exit_code == 127


SLOW_END = """
import pathlib, signal, sys, time
run = pathlib.Path(sys.argv[1])
def end(*_):
    time.sleep(5)  # longer than Ray's own patience
    (run / "ended").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
(run / "began").touch()
time.sleep(1000)
"""


def test_cancel_lets_the_entrypoint_end_in_order(executor, make, tmp_path):
    task = make(SLOW_END)
    executor.cancel(task.name)  # unknown: ignored
    executor.submit(task)
    wait_for((tmp_path / "began").exists)
    asked = time.monotonic()
    executor.cancel(task.name)
    assert time.monotonic() - asked < 3
    assert "STOPPED" in str(reach(executor, task, JobState.ENDED).reason)
    assert (tmp_path / "ended").exists()
    executor.cancel(task.name)


HOLD = """
import pathlib, ray, sys, time
from ray.util.placement_group import placement_group
ray.init(address="auto", log_to_driver=False)
ray.get(placement_group([{"CPU": 0.1, "GPU": 1}] * 2, strategy="STRICT_PACK").ready())
(pathlib.Path(sys.argv[1]) / "holds").touch()
time.sleep(1000)
"""
OTHER = """
import ray, time
ray.init(address="auto", log_to_driver=False)
@ray.remote(num_gpus=1, num_cpus=0)
class Other: pass
other = Other.remote()
time.sleep(1000)
"""


def test_capacity_sees_gpus_per_node_and_what_is_promised(cluster, executor, make, tmp_path):
    assert room(executor) == ((4, 2), (4, 2))
    ours, other = make(HOLD, gpus=2), make(OTHER, "other")
    executor.submit(ours)
    assert room(executor) == ((4, 2), (4, 0))  # at once: nothing is held yet
    foreign = {"submission_id": other.name, "entrypoint": f"{sys.executable} -c '{OTHER}'"}
    assert cluster.dashboard().ask("POST", "/api/jobs/", {**foreign, "entrypoint_num_cpus": 0.1}).ok
    wait_for((tmp_path / "holds").exists)
    wait_for(lambda: sum(room(executor)[1]) == 3)
    time.sleep(3)  # for good, and not between two reports
    assert sum(room(executor)[1]) == 3
    for task in (ours, other):
        executor.cancel(task.name)
    wait_for(lambda: room(executor) == ((4, 2), (4, 2)))


def room(executor: RayExecutor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    executor._capacity = None
    found = executor.capacity()
    assert found is not None
    return found.total, found.free


def test_a_node_that_dies_ends_its_job_with_a_reason(cluster, executor, make):
    task = make()
    executor.submit(task)
    reach(executor, task, JobState.RUNNING)
    node = cluster.dashboard().ask("GET", f"/api/jobs/{task.name}").json()["driver_node_id"]
    gpus = next(row["resources_total"]["GPU"] for row in cluster.alive() if row["node_id"] == node)
    cluster.kill_raylet(int(gpus))
    assert str(reach(executor, task, JobState.ENDED).reason).startswith("NODE_FAIL")
    wait_for(lambda: room(executor)[0] == ((2,) if gpus == 4 else (4,)))


def test_a_silent_head_says_nothing_and_a_new_one_knows_no_job(cluster, executor, make, monkeypatch):
    task = make()
    executor.submit(task)
    reach(executor, task, JobState.RUNNING)
    cluster.stop()
    assert state(executor, task).state is JobState.UNKNOWN
    assert room(executor) == ((), ())
    executor.cancel(task.name)
    for call in (lambda: executor.submit(task), lambda: executor.check([])):
        with pytest.raises(SubmitError, match="no Ray answers") as caught:
            call()
        assert caught.value.passing
    monkeypatch.delenv("RAY_ADDRESS")
    cluster.start_head()
    assert state(executor, task) == FORGOTTEN
    with pytest.raises(UserError, match="the Ray cluster has none at all"):
        executor.check([make(gpus=1)])

"""The Slurm executor on a real Slurm: two nodes on this machine, without accounting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from launch.executors.slurm_cases import NodeSide, events, happened, profile, task
from launch.executors.slurm_cluster import SlurmCluster, missing, slurm_cluster, wait_for

from cegppo_verl.errors import UserError
from cegppo_verl.launch.executors.base import JobState, JobStatus, SubmitError, Task
from cegppo_verl.launch.executors.slurm import SlurmExecutor

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
NUMBER = itertools.count(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with slurm_cluster() as started:
        yield started


class Bench:
    """An executor, and runs of a stand-in that it carries to the cluster."""

    def __init__(self, cluster: SlurmCluster, folder: Path) -> None:
        self.cluster = cluster
        self.node = NodeSide(folder)

    def executor(self, **changes: Any) -> SlurmExecutor:
        return SlurmExecutor(profile(python=str(self.node.python), memory="200M", **changes))

    def task(self, name: str, needs: dict[str, Any] | None = None, **orders: Any) -> Task:
        run = self.node.run(name, **orders)
        return task(run, f"cegppo-0123456789ab-{next(NUMBER)}", **(needs or {}))


@pytest.fixture
def bench(cluster: SlurmCluster, tmp_path: Path) -> Bench:
    return Bench(cluster, tmp_path)


def state(executor: SlurmExecutor, task: Task) -> JobStatus:
    return executor.statuses([task.name])[task.name]


def until(executor: SlurmExecutor, task: Task, wanted: JobState, seconds: float = 30) -> JobStatus:
    wait_for(lambda: state(executor, task).state is wanted, seconds, f"{task.name} is not {wanted}")
    return state(executor, task)


def until_event(task: Task, event: str, count: int = 1, seconds: float = 30) -> None:
    run = task.run.path
    wait_for(lambda: happened(run).count(event) >= count, seconds, f"no {event}: {output(task)}")


def output(task: Task) -> str:
    return "".join(file.read_text() for file in sorted(task.run.path.glob("slurm-*.out")))


def test_a_run_directory_with_a_hostile_path_and_its_exit_code(bench: Bench) -> None:
    given = {"HF_HOME": "/x y/$HOME", "QUOTES": "'it\"s' `id` $(id)", "LINES": "a\nb"}
    hostile = bench.task('it\'s a "run" $(id) `id` %j 100% #1 π', {"environment": given, "gpus": 2}, code=3)
    executor = bench.executor(setup=["export FROM_SETUP=yes"], extra=['--comment="a b"'])
    executor.check([hostile])
    number = executor.submit(hostile)
    status = until(executor, hostile, JobState.ENDED)
    assert (status.reason, status.exit_code) == ("FAILED", 3)
    [started, _] = events(hostile.run.path)
    seen = started["environment"]
    assert {key: seen[key] for key in given} == given
    assert (seen["FROM_SETUP"], seen["CUDA_VISIBLE_DEVICES"]) == ("yes", "0,1")
    assert "RAY_ADDRESS" not in seen  # one node: a private Ray
    assert started["arguments"] == list(hostile.command)
    assert (hostile.run.path / f"slurm-{number}.out").exists()
    assert not Path(seen["RAY_TMPDIR"]).exists()
    assert "Comment=a b" in bench.cluster.ask("scontrol", "show", "job", number)


def test_a_name_is_submitted_once_running_or_ended(bench: Bench) -> None:
    executor, once = bench.executor(), bench.task("once", seconds=2)
    number = executor.submit(once)
    assert bench.executor().submit(once) == number
    until(executor, once, JobState.RUNNING)
    assert executor.submit(once) == number
    assert until(executor, once, JobState.ENDED) == JobStatus(JobState.ENDED, "COMPLETED", 0)
    assert executor.submit(once) == number
    assert happened(once.run.path) == ["started", "finished"]


def test_an_unknown_name_has_ended_and_cancelling_it_is_nothing(bench: Bench) -> None:
    executor = bench.executor()
    executor.cancel("cegppo-nobody-1")
    assert executor.statuses(["cegppo-nobody-1"]) == {"cegppo-nobody-1": JobStatus(JobState.ENDED)}


def test_cancelling_is_sigterm_and_an_orderly_end_is_waited_for(bench: Bench) -> None:
    executor, long = bench.executor(), bench.task("long", seconds=600, tidying=2)
    executor.submit(long)
    until_event(long, "started")
    executor.cancel(long.name)
    until_event(long, "signal")
    assert state(executor, long).state is JobState.RUNNING  # it has not ended before it is tidy
    status = until(executor, long, JobState.ENDED)
    assert (status.reason, status.exit_code) == ("CANCELLED", 143)
    assert happened(long.run.path) == ["started", "signal", "tidy"]


def test_a_waiting_job_is_removed(bench: Bench) -> None:
    executor = bench.executor(extra=["--hold"])
    waiting = bench.task("waiting")
    executor.submit(waiting)
    status = state(executor, waiting)
    assert (status.state, status.reason) == (JobState.QUEUED, "JobHeldUser")
    executor.cancel(waiting.name)
    assert until(executor, waiting, JobState.ENDED).reason == "CANCELLED"
    assert happened(waiting.run.path) == []


def test_a_requeued_job_runs_again_under_its_name_and_number(bench: Bench) -> None:
    executor, again = bench.executor(), bench.task("again", seconds=600, tidying=0.5)
    number = executor.submit(again)
    until_event(again, "started")
    bench.cluster.ask("scontrol", "requeue", number)
    until_event(again, "tidy")
    assert until(executor, again, JobState.QUEUED).state is JobState.QUEUED
    assert executor.submit(again) == number
    until_event(again, "started", count=2)
    executor.cancel(again.name)
    until(executor, again, JobState.ENDED)
    assert len(list(again.run.path.glob("slurm-*.out"))) == 1


def test_near_its_time_limit_a_job_ends_in_order_and_queues_again(bench: Bench) -> None:
    executor, limited = bench.executor(), bench.task("limited", seconds=600, tidying=0.5)
    number = executor.submit(limited)
    until_event(limited, "started")
    # What Slurm does by --signal=B:USR1@120, two minutes before the limit.
    bench.cluster.ask("scancel", "--batch", "--signal=USR1", number)
    until_event(limited, "tidy")
    until(executor, limited, JobState.QUEUED)
    until_event(limited, "started", count=2)
    executor.cancel(limited.name)
    until(executor, limited, JobState.ENDED)


def test_near_its_time_limit_a_job_without_a_checkpoint_does_not_queue_again(bench: Bench) -> None:
    executor, stuck = bench.executor(), bench.task("stuck", seconds=600, stuck=True)
    number = executor.submit(stuck)
    until_event(stuck, "started")
    bench.cluster.ask("scancel", "--batch", "--signal=USR1", number)
    status = until(executor, stuck, JobState.ENDED)
    assert (status.reason, status.exit_code) == ("FAILED", 1)
    assert happened(stuck.run.path).count("started") == 1


def test_without_requeue_the_same_warning_ends_it(bench: Bench) -> None:
    executor, once = bench.executor(requeue=False), bench.task("once", seconds=600)
    number = executor.submit(once)
    until_event(once, "started")
    bench.cluster.ask("scancel", "--batch", "--signal=TERM", number)
    status = until(executor, once, JobState.ENDED)
    assert (status.reason, status.exit_code) == ("FAILED", 143)


def test_a_node_that_goes_down_is_a_requeue_or_a_reason(bench: Bench) -> None:
    kept, lost = bench.task("kept", seconds=600), bench.task("lost", seconds=600)
    executor, strict = bench.executor(), bench.executor(requeue=False)
    executor.submit(kept)
    strict.submit(lost)
    until_event(kept, "started")
    until_event(lost, "started")
    bench.cluster.down()
    assert until(strict, lost, JobState.ENDED).reason == "NODE_FAIL"
    until(executor, kept, JobState.QUEUED)
    executor.cancel(kept.name)
    wait_for(lambda: state(executor, kept).state is JobState.ENDED, 30)
    bench.cluster.resume()


@pytest.mark.parametrize(("partition", "requeue"), [("spare", True), ("cheap", False)])
def test_a_preempted_job_ends_in_order_and_is_queued_again_or_says_why(
    bench: Bench, partition: str, requeue: bool
) -> None:
    place = ["--nodelist=n1"]  # with two GPUs, as many as each of the two jobs needs
    executor = bench.executor(partition=partition, requeue=requeue, extra=place)
    weak = bench.task("weak", {"gpus": 2}, seconds=600, tidying=0.5)
    strong = bench.task("strong", {"gpus": 2}, seconds=2)
    executor.submit(weak)
    until_event(weak, "started")
    bench.executor(partition="main", extra=place).submit(strong)
    until_event(weak, "tidy", seconds=60)
    until_event(strong, "finished", seconds=60)
    if requeue:
        until_event(weak, "started", count=2, seconds=60)
        executor.cancel(weak.name)
        until(executor, weak, JobState.ENDED)
    else:
        assert until(executor, weak, JobState.ENDED).reason == "PREEMPTED"
        assert happened(weak.run.path).count("started") == 1


def test_a_node_that_is_drained_finishes_its_job_and_takes_no_other(bench: Bench) -> None:
    executor, running, waiting = bench.executor(), bench.task("running", seconds=5), bench.task("waiting")
    executor.submit(running)
    until_event(running, "started")
    bench.cluster.drain()
    executor.submit(waiting)
    assert until(executor, running, JobState.ENDED).reason == "COMPLETED"
    assert happened(running.run.path) == ["started", "finished"]
    status = state(executor, waiting)
    assert status.state is JobState.QUEUED
    assert status.reason
    bench.cluster.resume()
    assert until(executor, waiting, JobState.ENDED).reason == "COMPLETED"


def test_a_controller_that_is_away_says_nothing_of_jobs_and_jobs_go_on(bench: Bench) -> None:
    executor, long = bench.executor(), bench.task("long", seconds=600)
    executor.submit(long)
    until_event(long, "started")
    bench.cluster.stop_controller()
    try:
        assert state(executor, long).state is JobState.UNKNOWN
        with pytest.raises(SubmitError) as refused:
            executor.submit(bench.task("other"))
        assert refused.value.passing
        with pytest.raises(UserError, match="Slurm does not answer"):
            executor.check([long])
    finally:
        bench.cluster.start_controller()
    assert until(executor, long, JobState.RUNNING).state is JobState.RUNNING
    executor.cancel(long.name)
    until(executor, long, JobState.ENDED)


def test_what_would_wait_for_ever_is_refused_before(bench: Bench, tmp_path: Path) -> None:
    cases = {
        "did you mean 'main'": ({"partition": "mian"}, {}),
        "needs 1 node\\(s\\) with 3 gpu, 200M memory; partition main has 0 such": ({}, {"gpus": 3}),
        "needs 3 node\\(s\\)": ({}, {"nodes": 3}),
        "beyond the limit of partition short": ({"partition": "short", "time_limit": "2:00:00"}, {}),
        "too short": ({"time_limit": "0:04:00"}, {}),
        "Invalid feature": ({"constraint": "h100"}, {}),
        "64 CPUs": ({"cpus_per_gpu": 64}, {}),
    }
    for message, (changes, needs) in cases.items():
        with pytest.raises(UserError, match=message):
            bench.executor(**changes).check([task(tmp_path / "run", **needs)])
    assert not (tmp_path / "run").exists()


def test_a_refused_job_is_not_worth_another_try(bench: Bench) -> None:
    with pytest.raises(SubmitError, match=r"(?i)invalid partition") as refused:
        bench.executor(partition="nowhere").submit(bench.task("run"))
    assert not refused.value.passing


def test_variables_of_the_shell_do_not_overrule_the_script(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "SBATCH_PARTITION": "nowhere",
        "SQUEUE_STATES": "FAILED",
        "SBATCH_NO_REQUEUE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    executor, plain = bench.executor(partition="main"), bench.task("plain", seconds=600)
    number = executor.submit(plain)
    assert "Requeue=1" in bench.cluster.ask("scontrol", "show", "job", number)
    until(executor, plain, JobState.RUNNING)
    executor.cancel(plain.name)


RAY = """
import ray
ray.init(address="auto", log_to_driver=False)
def node():
    return ray.get_runtime_context().get_node_id()
ask = ray.remote(num_gpus=2)(node)  # all that a node has
places = ray.get([ask.remote() for _ in range(2)])
note("ray", places=len(set(places)), resources=ray.cluster_resources(), mode=os.environ["RAY_AUTH_MODE"])
"""


def test_two_nodes_are_one_ray(bench: Bench) -> None:
    pytest.importorskip("ray")
    needs = {"nodes": 2, "gpus": 2, "platform": "cpu", "environment": {"OMP_NUM_THREADS": "1"}}
    executor, both = bench.executor(cpus_per_gpu=1), bench.task("both", needs, program=RAY)
    executor.submit(both)
    wait_for(lambda: state(executor, both).state is JobState.ENDED, 300)
    status, log = state(executor, both), output(both)
    assert (status.reason, status.exit_code) == ("COMPLETED", 0), log
    started, seen, _ = events(both.run.path)
    assert (seen["places"], seen["resources"]["GPU"], seen["mode"]) == (2, 4, "token")
    assert not Path(started["environment"]["RAY_TMPDIR"]).exists()

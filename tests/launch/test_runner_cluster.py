"""The runner with jobs that outlive it: adopted, not doubled; lost and concluded; stopped and counted."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from launch.fake_cluster import FakeCluster
from launch.fake_trainer import Behaviour, grid_text, make_cells
from launch.test_runner import Recorder, steps_of

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import executors, handover, run_command, runner, tasks
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.executors.base import Capacity, SubmitError, Task
from cegppo_verl.launch.run_command import Call
from cegppo_verl.launch.runner import GridRunner, Options
from cegppo_verl.launch.watch import Watch
from cegppo_verl.records import marks, progress, submission
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.status import DONE, PLANNED, STOPPED, Status, status_of

EXAMPLE = Path(executors.__file__).parent / "examples" / "kuberay.yaml"


class Site:
    """A grid, a cluster and runners."""

    def __init__(self, folder: Path, behaviour: Behaviour) -> None:
        self.behaviour, self.results = behaviour, folder / "results"
        self.cells = make_cells(folder, arms=("grpo", "dapo"))
        self.cluster = FakeCluster(folder / "cluster", gpus=(1, 1))
        self.view = Recorder()

    def runner(self, **options: Any) -> GridRunner:
        self.view = Recorder()
        executor = options.pop("executor", self.cluster)
        return GridRunner(self.cells, Options(results=self.results, executor=executor, **options), self.view)

    def dir(self, index: int = 0) -> RunDir:
        return runner.run_dir(self.cells[index], self.results)

    def status(self, index: int = 0) -> Status:
        return status_of(self.dir(index), cell_json(self.cells[index]))

    def records(self, index: int = 0) -> list[dict[str, Any]]:
        return [a.record() for a in self.dir(index).attempts()]

    def first_name(self, index: int = 0) -> str:
        return handover.job_name(self.dir(index), self.cells[index].id, 1)

    def notes(self) -> str:
        return "\n".join(text for _, text in self.view.all("note"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    behaviour = Behaviour(notebook=str(tmp_path / "resumed"))
    behaviour.install(monkeypatch.setattr)
    monkeypatch.setattr(runner, "ASK_SECONDS", 0.05)
    made = Site(tmp_path, behaviour)
    yield made
    made.cluster.end_all()


class CrashError(Exception):
    """The runner dies."""


def until(condition: Callable[[], bool], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def run_until(site: Site, condition: Callable[[], bool], **options: Any) -> None:
    """A runner that dies as soon as the condition holds."""

    def tick() -> None:
        if condition():
            raise CrashError

    one = site.runner(**options)
    site.view.tick = tick  # type: ignore[method-assign]
    with pytest.raises(CrashError):
        one.run()


def trained(site: Site, step: int, index: int = 0) -> Callable[[], bool]:
    return lambda: step in progress.trained_steps(site.dir(index))


def test_two_nodes_take_two_cells_at_once(site: Site) -> None:
    site.behaviour.pace = 1.0
    assert site.runner().run()
    first, second = (site.records(i)[0] for i in (0, 1))
    assert first["started"] <= second["ended"]
    assert second["started"] <= first["ended"]
    assert first["submission"] == site.first_name()
    assert "host" not in first


def test_jobs_outlive_their_runner_and_the_next_one_adopts_them(site: Site) -> None:
    site.behaviour.pace = 0.4
    run_until(site, trained(site, 1))
    assert site.cluster.alive(site.cluster.names()[0])
    assert site.runner().run()
    assert len(site.cluster.names()) == 2  # nothing was submitted twice
    assert [len(site.records(i)) for i in (0, 1)] == [1, 1]
    assert site.notes().count("watching it again") == 2
    assert steps_of(site.dir()) == [1, 2, 3, 4]


def test_an_adopted_cells_steps_are_told_once(site: Site) -> None:
    site.behaviour.pace = 0.3
    run_until(site, trained(site, 2))
    site.runner().run()
    told = [e[2] for e in site.view.all("step") if e[1] == "grpo"]
    assert told == [0, 1, 2, 3, 4]


def test_what_ended_while_nobody_watched_is_concluded(site: Site) -> None:
    site.behaviour.pace = 0.2
    run_until(site, trained(site, 1))
    until(lambda: all(not site.cluster.alive(n) for n in site.cluster.names()))
    assert site.runner().run()
    assert [len(site.records(i)) for i in (0, 1)] == [1, 1]
    assert len(site.cluster.names()) == 2


def test_a_runner_that_dies_between_submitting_and_noting_it_submits_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.behaviour.pace = 0.3
    update = submission.update

    def dies(run: RunDir, known: submission.Submission, /, **changes: Any) -> submission.Submission:
        if "job" in changes:
            raise CrashError
        return update(run, known, **changes)

    monkeypatch.setattr(submission, "update", dies)
    with pytest.raises(CrashError):
        site.runner().run()
    monkeypatch.setattr(submission, "update", update)
    assert site.runner().run()
    assert len(site.cluster.names()) == 2
    assert len(site.records(0)) == 1


def test_a_node_that_is_lost_is_recorded_and_tried_again(site: Site) -> None:
    site.behaviour.pace = 0.3
    killed: list[int] = []

    def tick() -> None:
        if trained(site, 2)() and not killed:
            killed.append(site.cluster.pid(site.first_name()))
            os.kill(killed[0], signal.SIGKILL)

    one = site.runner()
    site.view.tick = tick  # type: ignore[method-assign]
    assert one.run()
    first, second = site.records(0)
    assert (first["outcome"], first["cause_kind"]) == ("failed", "node lost")
    assert (second["outcome"], second["resumed_from"]) == (
        "completed",
        2 if 2 in (second["resumed_from"],) else 0,
    )
    assert steps_of(site.dir()) == [1, 2, 3, 4]


def test_a_scheduler_that_does_not_answer_concludes_nothing(site: Site) -> None:
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        site.cluster.unreachable = len(ticks) < 40
        assert len(site.cluster.names()) <= 2

    one = site.runner()
    site.view.tick = tick  # type: ignore[method-assign]
    assert one.run()
    assert [len(site.records(i)) for i in (0, 1)] == [1, 1]


def test_a_scheduler_that_refuses_our_question_does_not_end_the_runner(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    capacity, asked = site.cluster.capacity, []

    def refuses() -> Capacity | None:
        asked.append(1)
        if len(asked) < 5:
            raise SubmitError("the token has run out", passing=False)
        return capacity()

    monkeypatch.setattr(site.cluster, "capacity", refuses)
    assert site.runner().run()
    assert site.notes().count("the token has run out") == 1


def test_a_refusal_that_may_pass_is_asked_again(site: Site) -> None:
    site.cluster.refuse = SubmitError("busy", passing=True)

    def tick() -> None:
        site.cluster.refuse = None

    one = site.runner()
    site.view.tick = tick  # type: ignore[method-assign]
    assert one.run()
    assert "not taken yet: busy" in site.notes()


def test_a_job_whose_answer_was_lost_is_found_and_not_made_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, lost = site.cluster.submit, []

    def loses_the_answer(task: Task) -> str:
        job = submit(task)
        if not lost:
            lost.append(task.name)
            until(task.run.is_locked)  # it is at work before it is asked for again
            raise SubmitError("no answer within 20 s", passing=True)
        return job

    monkeypatch.setattr(site.cluster, "submit", loses_the_answer)
    site.behaviour.pace = 0.5
    assert site.runner().run()
    assert sorted(site.cluster.names()) == sorted(site.first_name(i) for i in (0, 1))
    assert [len(site.records(i)) for i in (0, 1)] == [1, 1]
    assert "another runner" not in site.notes()


def test_jobs_of_a_folder_that_was_removed_are_not_taken_for_those_of_the_new_one(site: Site) -> None:
    assert site.runner().run()
    shutil.rmtree(site.results)
    assert site.runner(retries=0).run()
    assert [len(site.records(i)) for i in (0, 1)] == [1, 1]
    assert [submission.read(site.dir(i)).number for i in (0, 1)] == [2, 2]  # type: ignore[union-attr]


def test_the_same_cell_in_two_folders_has_jobs_of_two_names(tmp_path: Path) -> None:
    names = {
        handover.next_name(RunDir(tmp_path / folder / "demo" / "run"), "0123456789ab") for folder in "ab"
    }
    assert len(names) == 2


def test_a_dry_run_shows_what_is_submitted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, submitted = site.cluster.submit, []

    def notes(task: Task) -> str:
        submitted.append(replace(task, fresh=False))
        return submit(task)

    monkeypatch.setattr(site.cluster, "submit", notes)
    one = site.runner(hours=lambda cell: 2.0, priority=lambda cell: -5)
    shown = [tasks.next_task(cell, one.options) for cell in site.cells]
    assert one.run()
    assert sorted(submitted, key=lambda task: task.name) == sorted(shown, key=lambda task: task.name)


def test_a_dry_run_knows_the_priority_of_the_grid(tmp_path: Path) -> None:
    grid = tmp_path / "fake.yaml"
    grid.write_text(grid_text(priority=-5))
    (text,) = run_command.dry_run(Call(grid, results=tmp_path / "results", executor="slurm"))
    assert "#SBATCH --nice=5\n" in text


def test_an_end_that_cannot_be_recorded_is_said_and_the_next_run_records_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    site.behaviour.misdeeds = {"grpo": {"1": "lose-memory@3"}}
    with monkeypatch.context() as patched:
        patched.setattr(runner, "conclude", full)
        assert not site.runner().run()
    assert site.notes().count("its end cannot be recorded: [Errno 28] No space left on device") == 2
    assert site.runner().run()
    assert "out of memory; trying again" in site.notes()
    assert [len(site.records(i)) for i in (0, 1)] == [2, 1]


def test_files_that_cannot_be_read_for_a_while_end_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failed = Watch.look, []

    def away(watch: Watch) -> None:
        failed.append(1)
        if len(failed) < 5:
            raise OSError(errno.ESTALE, "Stale file handle")
        read(watch)

    monkeypatch.setattr(Watch, "look", away)
    assert site.runner().run()
    assert site.notes().count("Stale file handle") == 1
    assert [len(site.records(i)) for i in (0, 1)] == [1, 1]


def test_manifests_of_a_dry_run_can_be_read_as_one_file(tmp_path: Path) -> None:
    grid, profile = tmp_path / "fake.yaml", tmp_path / "cluster.yaml"
    grid.write_text(grid_text(arms=("grpo", "dapo")))
    profile.write_text(EXAMPLE.read_text())
    shown = "\n".join(run_command.dry_run(Call(grid, results=Path("/lustre/runs"), cluster=profile)))
    assert [job["kind"] for job in yaml.safe_load_all(shown)] == ["RayJob", "RayJob"]


@pytest.mark.parametrize("at_start", [True, False])
def test_a_folder_that_cannot_be_written_costs_its_own_cell_only(site: Site, at_start: bool) -> None:
    site.cluster.gpus = (1,)

    def spoil(index: int) -> None:
        site.dir(index).create(cell_json(site.cells[index]))
        (site.dir(index).path / handover.GUARD).unlink(missing_ok=True)
        (site.dir(index).path / handover.GUARD).mkdir()  # as unwritable as a read-only folder, also to root

    def tick() -> None:
        waiting = [i for i in (0, 1) if submission.read(site.dir(i)) is None]
        if waiting and not (site.dir(waiting[0]).path / handover.GUARD).is_dir():
            spoil(waiting[0])

    one = site.runner()
    if at_start:
        spoil(1)
    else:
        site.view.tick = tick  # type: ignore[method-assign]
    assert not one.run()
    assert sorted(site.status(i).state for i in (0, 1)) == [DONE, PLANNED]
    assert "cannot be" in site.notes()


def test_an_executor_that_breaks_at_one_cell_does_not_end_the_runner(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, broken = site.cluster.submit, []

    def breaks(task: Task) -> str:
        if not broken:
            broken.append(task.name)
            raise OSError("no process can be made")
        return submit(task)

    monkeypatch.setattr(site.cluster, "submit", breaks)
    assert not site.runner().run()
    assert sorted(site.status(i).state for i in (0, 1)) == [DONE, PLANNED]
    assert "no process can be made" in site.notes()


def test_a_refusal_for_good_leaves_the_cell(site: Site) -> None:
    site.cluster.refuse = SubmitError("no such partition", passing=False)
    assert not site.runner().run()
    assert "refused: no such partition" in site.notes()
    assert site.records() == []


def test_two_runners_on_one_grid_share_the_cells_and_run_none_twice(site: Site) -> None:
    site.behaviour.pace = 0.2
    other = GridRunner(site.cells, Options(results=site.results, executor=site.cluster), Recorder())
    one = site.runner()
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(other.run()))
    thread.start()
    ended.append(one.run())
    thread.join(60)
    assert [len(site.records(i)) for i in (0, 1)] == [1, 1]
    assert [site.status(i).state for i in (0, 1)] == [DONE, DONE]


def test_a_stop_mark_ends_the_attempt_in_order_and_keeps_it_stopped(site: Site) -> None:
    site.behaviour.pace = 0.3

    def tick() -> None:
        if trained(site, 1)():
            marks.request_stop(site.dir(), "ada", "enough seen")

    one = site.runner()
    site.view.tick = tick  # type: ignore[method-assign]
    assert not one.run()
    (record,) = site.records()
    assert (record["outcome"], record["cause"]) == ("stopped", "stopped by ada: enough seen")
    assert site.status(1).state == DONE  # the others go on
    assert not site.runner().run()
    assert len(site.records()) == 1
    marks.request_retry(site.dir(), "ada")
    assert site.runner().run()
    assert [r["outcome"] for r in site.records()] == ["stopped", "completed"]
    assert steps_of(site.dir()) == [1, 2, 3, 4]


def test_a_cell_stopped_while_it_waits_is_not_submitted(site: Site) -> None:
    site.cluster.gpus = (1,)

    def tick() -> None:
        for index in (0, 1):
            if submission.read(site.dir(index)) is None:
                marks.request_stop(site.dir(index), "ada")

    one = site.runner()
    site.view.tick = tick  # type: ignore[method-assign]
    assert not one.run()
    assert sorted(site.status(i).state for i in (0, 1)) == [DONE, STOPPED]
    assert len(site.cluster.names()) == 1


def test_a_stop_counts_more_than_the_retry_before_it(site: Site) -> None:
    for index in (0, 1):
        site.dir(index).create(cell_json(site.cells[index]))
        marks.request_retry(site.dir(index), "ada")
        marks.request_stop(site.dir(index), "bob")
    marks.retry_file(site.dir(1)).write_text("{}")  # written at the same moment
    assert not site.runner().run()
    assert site.cluster.names() == []
    marks.request_retry(site.dir(), "ada")
    site.runner().run()
    assert [site.status(i).state for i in (0, 1)] == [DONE, STOPPED]


def test_a_rule_of_the_grid_ends_a_cell_for_good(site: Site) -> None:
    rule = {"metric": "actor/entropy", "above": 2.5, "for_steps": 2}  # entropy is 1 + step
    site.behaviour.pace = 0.3
    assert site.runner(early_stop=(rule,)).run()  # nothing is left to be done
    (record,) = site.records()
    assert record["outcome"] == "stopped"
    assert record["cause"].startswith("early stop at step 3: actor/entropy above 2.5 for 2 steps (it was 4)")
    assert site.status().state != DONE
    assert site.runner(early_stop=(rule,)).run()
    assert len(site.records()) == 1


def test_the_limit_on_gpu_hours_ends_what_runs(site: Site) -> None:
    site.behaviour.pace = 0.5
    assert not site.runner(max_gpu_hours=1.0 / 3600).run()
    assert {r["outcome"] for i in (0, 1) for r in site.records(i)} <= {"interrupted"}
    assert "GPU-hours used, the limit" in site.notes()
    for one in (a for i in (0, 1) for a in site.dir(i).attempts()):
        one.update(seconds=2.0)
    submitted = len(site.cluster.names())
    assert not site.runner(max_gpu_hours=1.0 / 3600).run()
    assert len(site.cluster.names()) == submitted  # and starts nothing more
    assert "cells not started" in site.notes()


def test_a_resumed_cell_needs_hours_for_the_rest_only(site: Site) -> None:
    site.cells = site.cells[:1]
    site.behaviour.misdeeds = {"grpo": {"1": "fail@3"}}
    assert not site.runner().run()
    site.dir().attempts()[0].update(seconds=1800.0)
    assert not site.runner(max_gpu_hours=1.0, hours=lambda cell: 1.1).run()
    assert "1 cell not started" in site.notes()
    assert site.runner(max_gpu_hours=1.0, hours=lambda cell: 0.9).run()
    assert [r["resumed_from"] for r in site.records()] == [0, 2]


def test_one_cell_of_another_executor_is_left_alone(site: Site) -> None:
    site.behaviour.pace = 0.3
    run_until(site, trained(site, 1))

    class Slurm(FakeCluster):
        name = "slurm"

    elsewhere = Slurm(site.results.parent / "other")
    assert not site.runner(executor=elsewhere).run()
    assert elsewhere.names() == []
    assert "another runner is at it" in site.notes()


def test_retries_are_counted_and_the_cause_kept(site: Site) -> None:
    site.behaviour.misdeeds = {"grpo": {str(n): "lose-memory@1" for n in range(1, 9)}}
    assert not site.runner(retries=2).run()
    assert [r["cause_kind"] for r in site.records()] == ["memory"] * 3
    assert site.status(1).state == DONE


def test_a_dead_cell_is_what_its_files_say(site: Site) -> None:
    cell: Cell = site.cells[0]
    site.runner().run()
    assert site.status().state == DONE
    (site.dir().validation / f"{cell.settings.total_steps}.jsonl").write_text("")
    assert site.status().state != DONE

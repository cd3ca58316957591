"""What came of a job: files first, then the scheduler's words; and whether it is tried again."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from launch.fake_trainer import make_cells

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import node
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.causes import Kind
from cegppo_verl.launch.conclude import conclude
from cegppo_verl.launch.executors.base import JobState, JobStatus
from cegppo_verl.launch.node import EXIT_BUSY, EXIT_STORAGE
from cegppo_verl.records import marks, progress, submission
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.status import FAILED, PLANNED, STOPPED, status_of
from cegppo_verl.records.submission import Submission

NAME = "cegppo-x-1"


class Scene:
    def __init__(self, folder: Path) -> None:
        self.cell: Cell = make_cells(folder)[0]
        self.run = RunDir(folder / "run")
        self.run.create(cell_json(self.cell))
        self.job = Submission(NAME, 1, "slurm", "2026-01-01T00:00:00+00:00", job="7")
        submission.write(self.run, self.job)

    def attempt(self, **record: object) -> None:
        attempt = self.run.new_attempt()
        attempt.update(**{"number": attempt.number, "resumed_from": 0, "submission": NAME, **record})

    def end(self, reason: str | None = None, code: int | None = None) -> tuple[str, Kind] | None:
        cause = conclude(self.cell, self.run, self.job, JobStatus(JobState.ENDED, reason, code))
        return None if cause is None else (cause.text, cause.kind)

    def record(self) -> dict[str, object]:
        return self.run.attempts()[-1].record()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("NODE_FAIL", Kind.NODE_LOST),
        ("OUT_OF_MEMORY", Kind.MEMORY),
        ("PREEMPTED", Kind.PREEMPTED),
        ("TIMEOUT", Kind.USER_ERROR),
        ("CANCELLED by 1000", Kind.USER_ERROR),
        (None, Kind.NODE_LOST),
        ("FAILED", Kind.NODE_LOST),
    ],
)
def test_an_attempt_that_died_without_a_word_is_recorded(
    scene: Scene, reason: str | None, kind: Kind
) -> None:
    scene.attempt()
    found = scene.end(reason)
    assert found is not None
    assert found[1] is kind
    assert reason is None or reason in found[0]
    assert (scene.record()["outcome"], scene.record()["cause_kind"]) == ("failed", kind.value)
    assert status_of(scene.run, cell_json(scene.cell)).state == FAILED


def test_a_job_that_never_reached_the_cell_leaves_an_attempt_with_the_reason(scene: Scene) -> None:
    assert scene.end("FAILED", 127) == (
        "the job ended before the cell began (FAILED); see the job's own output",
        Kind.USER_ERROR,
    )
    assert scene.record()["submission"] == NAME
    assert status_of(scene.run, cell_json(scene.cell)).state == FAILED


def test_a_job_whose_node_never_came_up_is_tried_again(scene: Scene) -> None:
    found = scene.end("BOOT_FAIL")
    assert found is not None
    assert found[1] is Kind.NODE_LOST


@pytest.mark.parametrize("began", [True, False])
def test_a_full_disk_has_a_name_although_the_attempt_could_not_write_it(scene: Scene, began: bool) -> None:
    if began:
        scene.attempt()
    found = scene.end("FAILED", EXIT_STORAGE)
    assert found is not None
    assert "disk is full" in found[0]
    assert found[1] is Kind.USER_ERROR
    assert scene.record()["cause"] == found[0]


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, EXIT_STORAGE), (errno.EROFS, EXIT_STORAGE), (errno.ENOENT, None)]
)
def test_the_node_side_says_by_its_exit_code_that_it_cannot_write(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, number: int, code: int | None
) -> None:
    def refuse(run: RunDir) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(node, "serve", refuse)
    monkeypatch.setattr(node, "SIGNALS", ())
    if code is None:
        with pytest.raises(OSError, match="no"):
            node.main([str(scene.run.path)])
    else:
        assert node.main([str(scene.run.path)]) == code


def test_a_cell_in_other_hands_is_no_failure_of_it(scene: Scene) -> None:
    found = scene.end(None, EXIT_BUSY)
    assert found == ("another process executes this cell, left alone", Kind.USER_ERROR)
    assert scene.run.attempts() == []


def test_the_node_sides_own_cause_counts_more_than_the_schedulers(scene: Scene) -> None:
    scene.attempt(outcome="failed", cause="out of memory", cause_kind="memory")
    assert scene.end("FAILED", 1) == ("out of memory", Kind.MEMORY)


def test_an_attempt_that_was_told_to_end_was_preempted(scene: Scene) -> None:
    scene.attempt(outcome="interrupted", cause="ended by SIGTERM")
    assert scene.end() == ("ended by SIGTERM", Kind.PREEMPTED)


def test_an_attempt_that_a_person_cancelled_at_the_scheduler_stays_cancelled(scene: Scene) -> None:
    scene.attempt(outcome="interrupted", cause="ended by SIGTERM")
    assert scene.end("CANCELLED by 1000") == ("ended by SIGTERM", Kind.USER_ERROR)


def test_an_early_stop_is_no_failure(scene: Scene) -> None:
    scene.attempt(outcome="stopped", cause="early stop", stopped_by_rule=True)
    assert scene.end() is None


def test_attempts_of_other_submissions_are_not_this_jobs(scene: Scene) -> None:
    scene.attempt(submission="cegppo-x-0", outcome="failed", cause="old", cause_kind="memory")
    found = scene.end("NODE_FAIL")
    assert found is not None
    assert "old" not in found[0]


def test_the_submission_is_over(scene: Scene) -> None:
    scene.attempt()
    scene.end("NODE_FAIL")
    ended = submission.read(scene.run)
    assert ended is not None
    assert ended.ended is not None
    assert "NODE_FAIL" in str(ended.reason)


@pytest.mark.parametrize(
    ("code", "kind"), [(-9, Kind.NODE_LOST), (137, Kind.NODE_LOST), (1, Kind.USER_ERROR)]
)
def test_a_node_side_killed_before_it_began_is_tried_again(scene: Scene, code: int, kind: Kind) -> None:
    found = scene.end(None, code)
    assert found is not None
    assert found[1] is kind


@pytest.mark.parametrize(("reason", "code"), [("CANCELLED by 1000", None), (None, 1)])
def test_a_cell_stopped_before_it_began_has_not_failed(
    scene: Scene, reason: str | None, code: int | None
) -> None:
    marks.request_stop(scene.run, "ada")
    assert scene.end(reason, code) is None
    assert scene.run.attempts() == []
    assert status_of(scene.run, cell_json(scene.cell)).state == STOPPED


@pytest.mark.parametrize("ended", [{}, {"outcome": "interrupted", "cause": "ended by SIGTERM"}])
@pytest.mark.parametrize(("saved", "kind"), [(2, Kind.PREEMPTED), (0, Kind.USER_ERROR)])
def test_a_time_limit_without_a_new_checkpoint_would_come_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, ended: dict[str, object], saved: int, kind: Kind
) -> None:
    scene.attempt(**ended)
    monkeypatch.setattr(progress, "resume_point", lambda run, cell: saved)
    found = scene.end("TIMEOUT")
    assert found is not None
    assert found[1] is kind


def test_a_job_that_the_runner_took_back_before_it_began_leaves_no_attempt(scene: Scene) -> None:
    status = JobStatus(JobState.ENDED, "CANCELLED by 1000")
    cause = conclude(scene.cell, scene.run, scene.job, status, taken_back=True)
    assert cause is not None
    assert scene.run.attempts() == []
    assert status_of(scene.run, cell_json(scene.cell)).state == PLANNED

"""W&B and TensorBoard: asked for by the environment, one run per cell, no part of a cell's identity."""

from __future__ import annotations

from pathlib import Path

import pytest
from launch.fake_trainer import make_cells

from cegppo_verl.errors import UserError
from cegppo_verl.launch import jobs, tasks, tracking
from cegppo_verl.launch.jobs import Inputs
from cegppo_verl.launch.options import Options
from cegppo_verl.records.rundir import RunDir

OWN = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_DIR", "TENSORBOARD_DIR")


def job_of(folder: Path, *, join: bool = False) -> tuple[jobs.Job, str]:
    """The job of a cell's next attempt, and the cell's id."""
    cell, run = make_cells(folder)[0], RunDir(folder / "run")
    made = jobs.job(cell, run, Inputs("m", ("t",), ("v",)), run.new_attempt(), 0, join=join)
    return made, cell.id


def test_nothing_is_tracked_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracking.VARIABLE, raising=False)
    job, _ = job_of(tmp_path)
    assert not set(OWN) & set(job.environment)
    assert [a for a in job.arguments if a.startswith("trainer.logger=")] == ["trainer.logger=[console,file]"]
    assert tracking.passed_on() == {}


def test_every_attempt_of_a_cell_goes_on_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracking.VARIABLE, " wandb, tensorboard,wandb")
    (first, cell_id), (second, _) = job_of(tmp_path), job_of(tmp_path)
    assert first.environment["WANDB_RUN_ID"] == second.environment["WANDB_RUN_ID"] == cell_id
    assert first.environment["WANDB_RESUME"] == "allow"
    assert first.environment["TENSORBOARD_DIR"] == str(tmp_path.resolve() / "run" / "tensorboard")
    assert second.environment["TENSORBOARD_DIR"] == first.environment["TENSORBOARD_DIR"]
    said = [a for a in first.arguments if a.startswith("trainer.logger=")]
    assert said == ["trainer.logger=[console,file,wandb,tensorboard]"]


def test_workers_of_a_joined_cluster_are_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracking.VARIABLE, "wandb")
    job, cell_id = job_of(tmp_path, join=True)
    assert any("env_vars.WANDB_RUN_ID=" in a and cell_id in a for a in job.arguments)


def test_a_submission_carries_the_wish_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracking.VARIABLE, "wandb")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    task = tasks.task(make_cells(tmp_path)[0], RunDir(tmp_path / "run"), "cegppo-x-1", Options())
    assert task.environment[tracking.VARIABLE] == "wandb"
    assert "secret" not in task.environment.values()


def test_an_unknown_logger_is_named_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracking.VARIABLE, "wandbb")
    with pytest.raises(UserError, match="unknown logger 'wandbb'") as caught:
        tracking.loggers()
    assert "wandb" in str(caught.value)


def test_tracking_changes_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracking.VARIABLE, raising=False)
    plain = make_cells(tmp_path)[0].id
    monkeypatch.setenv(tracking.VARIABLE, "wandb")
    assert make_cells(tmp_path)[0].id == plain


def test_the_command_line_counts_more_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracking.VARIABLE, "wandb")
    tracking.ask(())
    assert tracking.loggers() == ("wandb",)
    tracking.ask(["tensorboard"])
    assert tracking.loggers() == ("tensorboard",)
    with pytest.raises(UserError, match="wandbb"):
        tracking.ask(["wandbb"])
    assert tracking.loggers() == ("tensorboard",)

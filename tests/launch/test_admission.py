"""What starts: within the cluster's room, the budget and the profile's limit."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from launch.fake_trainer import make_cells

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.launch import ledger
from cegppo_verl.launch.admission import Admission
from cegppo_verl.launch.executors.base import Capacity
from cegppo_verl.launch.executors.local import Defaults, LocalExecutor
from cegppo_verl.launch.ledger import Budget
from cegppo_verl.records.rundir import RunDir


@dataclass
class Cluster:
    """An executor that has the room the test says."""

    room: Capacity | None
    profile: Any = field(default_factory=lambda: SimpleNamespace(max_jobs=None))
    name = "ray"
    detached = True

    def capacity(self) -> Capacity | None:
        return self.room


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return [c.model_copy(update={"id": f"{i:012d}"}) for i, c in enumerate(make_cells(tmp_path) * 6)]


def choose(
    cells: Sequence[Cell],
    room: Capacity | None,
    working: Sequence[Cell] = (),
    budget: Budget | None = None,
    hours: float | None = 1.0,
    **profile: Any,
) -> list[Cell]:
    cluster: Any = Cluster(room)
    cluster.profile.__dict__.update(profile)
    admission = Admission(cluster, budget or Budget(None), lambda cell: hours, lambda cell: 0)
    return admission.choose(cells, [(c, time.monotonic()) for c in working])


def test_as_many_start_as_there_are_gpus(cells: list[Cell]) -> None:
    assert len(choose(cells, Capacity((2, 1), (2, 1)))) == 3


def test_a_cell_just_submitted_counts_although_the_cluster_does_not_see_it_yet(cells: list[Cell]) -> None:
    assert len(choose(cells[2:], Capacity((2, 1), (2, 1)), working=cells[:2])) == 1


def test_a_cell_that_the_cluster_sees_is_not_counted_twice(cells: list[Cell]) -> None:
    assert len(choose(cells[2:], Capacity((2, 1), (1, 0)), working=cells[:2])) == 1


def test_what_others_use_is_not_ours(cells: list[Cell]) -> None:
    assert len(choose(cells[1:], Capacity((4,), (1,)), working=cells[:1])) == 1
    assert choose(cells, Capacity((4,), (0,))) == []


def test_a_queueing_scheduler_gets_up_to_the_profiles_limit(cells: list[Cell]) -> None:
    assert len(choose(cells[1:], None, working=cells[:1], max_jobs=3)) == 2


def test_a_profiles_limit_holds_where_gpus_are_free_too(cells: list[Cell]) -> None:
    assert len(choose(cells[1:], Capacity((8,), (8,)), working=cells[:1], max_jobs=3)) == 2
    assert choose(cells[3:], Capacity((8,), (8,)), working=cells[:3], max_jobs=3) == []
    assert len(choose(cells, None)) == len(cells)


def test_the_budget_counts_what_is_used_promised_and_wanted(cells: list[Cell]) -> None:
    budget = Budget(5.0, used=2.0)
    assert len(choose(cells[1:], Capacity((9,), (8,)), working=cells[:1], budget=budget)) == 2


def test_a_budget_that_is_used_up_starts_nothing(cells: list[Cell]) -> None:
    assert choose(cells, Capacity((9,), (9,)), budget=Budget(1.0, used=1.0), hours=None) == []


def test_without_an_estimate_cells_start_while_anything_is_left(cells: list[Cell]) -> None:
    assert len(choose(cells, Capacity((2,), (2,)), budget=Budget(1.0, used=0.9), hours=None)) == 2


def test_why_nothing_starts_is_said(cells: list[Cell]) -> None:
    admission = Admission(Cluster(None), Budget(1.5, used=1.0), lambda cell: 1.0, lambda cell: 0)  # type: ignore[arg-type]
    assert admission.choose(cells, []) == []
    assert admission.held_back == (
        "1.00 of 1.5 GPU-hours are used, the next cell is expected to need 1.00 (--max-gpu-hours)"
    )


def test_a_machine_without_gpus_takes_one_cell_at_a_time(cells: list[Cell]) -> None:
    executor = LocalExecutor(Defaults(gpus=0))
    admission = Admission(executor, Budget(None), lambda cell: None, lambda cell: 0)
    assert len(admission.choose(cells, [])) == 1
    assert admission.choose(cells[1:], [(cells[0], time.monotonic())]) == []


def test_gpu_hours_of_the_records(cells: list[Cell], tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.new_attempt().update(started="2026-01-01T00:00:00+00:00", seconds=3600.0, ended="x")
    run.new_attempt().update(started="2026-01-01T00:00:00+00:00", ended="x")  # refused at once
    assert ledger.spent(cells[0], run) == 1.0


def test_a_running_attempt_has_used_hours_too(cells: list[Cell], tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    attempt = run.new_attempt()
    attempt.update(started="2026-01-01T00:00:00+00:00")
    attempt.log_file.touch()
    assert ledger.spent(cells[0], run) > 1000


def test_an_attempt_that_was_lost_has_used_hours_up_to_its_last_sign_of_life(
    cells: list[Cell], tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "run")
    attempt = run.new_attempt()
    ended = {"ended": "2026-01-03T00:00:00+00:00", "outcome": "failed", "host": "gone"}
    attempt.update(started="2026-01-01T00:00:00+00:00", **ended)
    attempt.alive_file.touch()
    last = datetime.datetime.fromisoformat("2026-01-01T05:00:00+00:00").timestamp()
    os.utime(attempt.alive_file, (last, last))
    assert ledger.spent(cells[0], run) == 5.0


def test_hours_go_on_while_nothing_is_logged(cells: list[Cell], tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    attempt = run.new_attempt()
    attempt.update(started="2026-01-01T00:00:00+00:00")
    attempt.alive_file.touch()
    assert ledger.spent(cells[0], run) > 1000


def test_what_was_measured_before_goes_on_counting(cells: list[Cell], tmp_path: Path) -> None:
    runs = [RunDir(tmp_path / str(number)) for number in range(2)]
    for run in runs:
        run.new_attempt().update(started="2026-01-01T00:00:00+00:00", seconds=3600.0, ended="x", host="h")
    budget = Budget(9.0)
    budget.measure(cells[:2], runs)
    runs[1].new_attempt().update(started="2026-01-01T00:00:00+00:00", seconds=1800.0, ended="x", host="h")
    budget.measure(cells[1:2], runs[1:])
    assert budget.used == 2.5

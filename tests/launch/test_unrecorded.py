"""Attempts that could not say how they ended are on record afterwards, with the time they had used."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from launch.fake_trainer import make_cells

from cegppo_verl.launch import ledger
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.unrecorded import KILLED, record_the_dead
from cegppo_verl.records import submission
from cegppo_verl.records.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.create(cell_json(make_cells(tmp_path)[0]))
    return run


def test_the_dead_get_an_outcome_and_the_others_keep_theirs(run: RunDir) -> None:
    run.new_attempt().update(outcome="interrupted", cause="ended by SIGTERM")
    run.new_attempt().update(started=submission.now())
    record_the_dead(run)
    first, second = (a.record() for a in run.attempts())
    assert first == {"outcome": "interrupted", "cause": "ended by SIGTERM"}
    assert (second["outcome"], second["cause"]) == ("failed", KILLED.text)


def test_hours_of_a_job_that_died_without_a_word_count(run: RunDir, tmp_path: Path) -> None:
    attempt = run.new_attempt()
    attempt.update(started=submission.now())
    attempt.metrics_file.write_text("")
    os.utime(attempt.metrics_file, (time.time() + 7200, time.time() + 7200))
    record_the_dead(run)
    assert ledger.spent(make_cells(tmp_path)[0], run) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("text", ["", "{", "\x00" * 64])
def test_a_torn_record_is_mended(run: RunDir, text: str) -> None:
    attempt = run.new_attempt()
    attempt.record_file.write_text(text)
    record_the_dead(run)
    assert attempt.record()["outcome"] == "failed"
    assert attempt.record()["seconds"] == 0.0

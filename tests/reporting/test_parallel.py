"""Work on all cores gives what one process gives."""

from __future__ import annotations

import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from synthetic import FakeRun

from cegppo_verl.records.status import DONE, PLANNED, Status
from cegppo_verl.reporting import numbers, parallel, runs
from cegppo_verl.reporting.page import Aims
from cegppo_verl.reporting.report import build_report
from cegppo_verl.reporting.runs import RunView, load_runs

PLACE = tuple[Path, Status]


def test_results_come_in_order_and_from_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    offset = 7  # seen without being sent
    found = parallel.spread(lambda i: (i + offset, os.getpid()), 50, least=2)
    assert [number for number, _ in found] == list(range(7, 57))
    assert os.getpid() not in {pid for _, pid in found}


@pytest.mark.parametrize(("cores", "count"), [(1, 50), (2, 3)])
def test_little_is_made_here(monkeypatch: pytest.MonkeyPatch, cores: int, count: int) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    assert parallel.spread(lambda i: os.getpid(), count, least=4) == [os.getpid()] * count


def test_an_error_arrives_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    monkeypatch.setattr(parallel, "cores", lambda: 2)
    with pytest.raises(ValueError, match="three"):
        parallel.spread(make, 10, least=2)
    assert parallel.spread(lambda i: i, 4, least=2) == [0, 1, 2, 3]


@pytest.fixture
def places(tmp_path: Path) -> list[PLACE]:
    """Four arms of two seeds; the last arm has not begun."""
    rng = np.random.default_rng(0)
    found: list[PLACE] = []
    for number in range(3):
        for seed in range(2):
            verdicts = {step: rng.integers(0, 2, (6, 4)) for step in (0, 4, 8)}
            run = FakeRun(arm=f"arm-{number}", seed=seed, verdicts=verdicts)
            found.append((run.view(tmp_path).run_dir, Status(DONE, 8, 8)))
    return [*found, *((tmp_path / f"arm-3__toy-xs__seed{s}-00", Status(PLANNED, 0, 8)) for s in (0, 1))]


def test_a_report_has_the_same_bytes_however_it_is_made(
    places: list[PLACE], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    loads = [partial(RunView.load, *place) for place in places]
    here = build_report(Aims("demo", "q", "h", "r"), load_runs(loads), "cegppo report demo.yaml")
    monkeypatch.setattr(runs, "MANY", 2)
    monkeypatch.setattr(numbers, "MANY_ARMS", 2)
    spread = build_report(Aims("demo", "q", "h", "r"), load_runs(loads), "cegppo report demo.yaml")
    assert here == spread


def test_a_run_that_comes_from_another_process_brings_its_numbers_once(places: list[PLACE]) -> None:
    plain = RunView.load(*places[0])
    sent = pickle.loads(pickle.dumps(plain.prepared()))
    assert "anatomy" in vars(sent)
    assert np.array_equal(sent.evaluation(8, "pick").verdicts, plain.evaluation(8, "pick").verdicts)
    assert sent.evaluated_steps("pick") == plain.evaluated_steps("pick") == [0, 4, 8]
    for key, (steps, values) in plain.metrics.by_key.items():
        assert np.array_equal(sent.metrics.series(key)[0], steps)
        assert np.array_equal(sent.metrics.series(key)[1], values, equal_nan=True)
    assert len({id(steps) for steps, _ in sent.metrics.by_key.values()}) == 1
    for name, values in plain.anatomy.items():
        assert np.array_equal(sent.anatomy[name], values, equal_nan=True)


def test_runs_that_were_asked_the_same_share_the_names(places: list[PLACE]) -> None:
    names = {
        id(one.problems)
        for run in load_runs([partial(RunView.load, *place) for place in places])
        for one in run.evaluations.values()
    }
    assert len(names) == 1

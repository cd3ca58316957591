"""Estimates: from earlier runs, from cited times, or not at all; sums, wall-clock and budget."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from experiment.earlier_runs import record

from cegppo_verl.experiment import catalog, cost
from cegppo_verl.experiment.budget import over_budget, totals, wall_clock
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import Costs, estimate
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Grid, load_grid
from cegppo_verl.experiment.recorded import Recorded

DEMO = Path(__file__).parents[2] / "ablations" / "demo.yaml"


def grid(scale: str | None = None, **changes: Any) -> Grid:
    return load_grid(DEMO, scale=scale).model_copy(update=changes)


def cells(scale: str | None = None, **settings: Any) -> list[Cell]:
    return expand(grid(scale, settings=settings))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two whole runs and one that was cut off, at 2, 3 and 4 s a step; 10 s to start, 5 s an evaluation."""
    for cell, seconds in zip(cells(), (2.0, 3.0, 4.0), strict=True):
        whole = seconds < 4
        record(
            tmp_path, cell, 24 if whole else 7, seconds=seconds, testing=5.0, startup=15.0 if whole else None
        )
    return tmp_path


def test_the_same_settings_are_measured(results: Path) -> None:
    found = estimate(expand(grid(seeds=[7]))[0], results)
    assert found.step_seconds == 3.0  # the median of three runs
    assert found.startup_seconds == 10.0  # without the evaluation at step 0, which verl does not time
    assert found.hours == pytest.approx((10 + 24 * 3 + 5 * 5) / 3600)
    assert found.gpu_hours == 0.0  # a CPU scale
    assert found.basis == f"measured: 3 runs of toy-s in {(results / 'demo').as_posix()}"


def test_what_is_done_costs_nothing_again(results: Path) -> None:
    cell = cells()[0]
    assert estimate(cell, results, done_steps=12).hours == pytest.approx((10 + 12 * 3 + 2 * 5) / 3600)
    assert estimate(cell, results, done_steps=24).hours == 0.0


def test_another_batch_is_scaled_and_says_so(results: Path) -> None:
    found = estimate(cells(train_batch_size=64, mini_batch_size=16)[0], results)
    assert found.step_seconds == 6.0
    assert "scaled by rollouts per step, 256 → 512" in found.basis
    assert "with other mini- or micro-batches" in found.basis


def test_epochs_scale_the_updates_alone(tmp_path: Path) -> None:
    record(tmp_path, cells()[0], 3, seconds=3.0, more={"timing_s/update_actor": 2.0})
    found = estimate(cells(ppo_epochs=1)[0], tmp_path)
    assert found.step_seconds == 2.0
    assert found.basis.endswith("updates scaled by epochs, 2 → 1")
    assert "not scaled by epochs" in estimate(cells(ppo_epochs=1)[0], tmp_path / "none").basis


def test_the_nearest_batch_is_taken(results: Path, tmp_path: Path) -> None:
    record(tmp_path, cells(train_batch_size=16)[0], 3, seconds=1.0)
    assert estimate(cells(train_batch_size=64)[0], tmp_path).step_seconds == 6.0
    assert estimate(cells(train_batch_size=8)[0], tmp_path).step_seconds == 0.5


def test_other_lengths_or_a_kl_term_are_no_basis(results: Path) -> None:
    for settings in ({"max_response_length": 5}, {"kl_loss_coef": 0.1}):
        assert "measured" not in estimate(cells(**settings)[0], results).basis


def test_evaluation_is_scaled_by_its_answers_and_missed_where_unknown(results: Path, tmp_path: Path) -> None:
    cell = cells(eval={"benchmarks": [{"name": "pick-val", "samples": 2, "problems": 256}]})[0]
    assert estimate(cell, results).hours == pytest.approx((10 + 24 * 3 + 5 * 10) / 3600)
    record(tmp_path / "other", cells()[0], 3)
    found = estimate(cells()[0], tmp_path / "other")
    assert found.hours == pytest.approx(24 * 2 / 3600)
    assert "evaluation never measured" in found.basis


def test_a_cited_time_serves_where_nothing_was_run(tmp_path: Path) -> None:
    found = estimate(cells()[0], tmp_path / "none")
    entry = cost.references()["toy-s"]
    assert found.step_seconds == entry.step_seconds
    assert found.basis.startswith(f"reference: {entry.source}")
    assert found.hours == pytest.approx((entry.startup_seconds + 24 * 3.32 + 5 * 2.77) / 3600)


@pytest.mark.parametrize("scale", ["toy-m", "deepseek-r1-distill-qwen-1.5b"])
def test_without_a_basis_there_is_no_number(scale: str, tmp_path: Path) -> None:
    found = estimate(cells(scale)[0], tmp_path)
    assert (found.step_seconds, found.hours, found.basis) == (None, None, cost.NO_BASIS)
    assert found.gpu_hours == (0.0 if scale == "toy-m" else None)


def test_every_cited_time_names_a_scale_and_its_settings() -> None:
    for entry in cost.references().values():
        assert entry.scale in catalog.scales()
        assert set(entry.settings) == {*cost.BATCH, *cost.LENGTHS, "kl_loss_coef"}


def test_the_cited_times_are_those_of_the_committed_records() -> None:
    runs = Path(__file__).parents[2] / "results" / "runs"
    for name, entry in cost.references().items():
        folder = entry.source.split("results/runs/")[1].split()[0]
        pace = cost._pace_of([run for run in Recorded(runs).runs(name) if run.path.parent.name == folder], 0)
        assert pace is not None
        assert pace.step == pytest.approx(entry.step_seconds, rel=0.01)
        assert pace.startup == pytest.approx(entry.startup_seconds, rel=0.05)


def test_damaged_records_are_no_basis_and_no_error(tmp_path: Path) -> None:
    run = record(tmp_path, cells()[0], 3)
    (run / "cell.json").write_text("{")
    assert "reference" in estimate(cells()[0], tmp_path).basis
    (run / "cell.json").write_text('{"settings": {}, "params": {}}')
    assert "reference" in estimate(cells()[0], tmp_path).basis


def test_the_newest_attempt_that_logged_counts(tmp_path: Path) -> None:
    run = record(tmp_path, cells()[0], 3, seconds=9.0)
    second = run / "attempts" / "002"
    second.mkdir()
    (second / "metrics.jsonl").write_text('{"step":4,"data":{"timing_s/step":1.5,"x":null}}\n{"step":5,"da')
    (run / "attempts" / "003").mkdir()
    assert estimate(cells()[0], tmp_path).step_seconds == 1.5


def test_gpu_hours_are_hours_times_gpus(tmp_path: Path) -> None:
    paper = cells("deepseek-r1-distill-qwen-1.5b")
    record(tmp_path, paper[0], 3, seconds=360.0)
    found = totals(paper, Costs(Recorded(tmp_path)), {}, None)
    assert found.gpu_hours == pytest.approx(3 * 100 * 8)
    assert (found.wall_hours, found.gpus, found.machine_hours) == (pytest.approx(300), 8, 0.0)
    assert totals(paper, Costs(Recorded(tmp_path)), {}, 16).wall_hours == pytest.approx(200)
    assert totals(paper, Costs(Recorded(tmp_path)), {}, 4).wall_hours is None
    done = {cell.id: 500 for cell in paper}
    assert totals(paper, Costs(Recorded(tmp_path)), done, 24).wall_hours == pytest.approx(50)


def test_cells_without_a_basis_are_counted_apart(tmp_path: Path) -> None:
    found = totals([*cells(), *cells("toy-m"), *cells()], Costs(Recorded(tmp_path)), {}, None)
    assert (found.cells, found.unknown) == (6, 3)  # the three that are twice in the list are one run each
    assert found.machine_hours == pytest.approx(3 * (estimate(cells()[0], tmp_path).hours or 0))


@pytest.mark.parametrize(
    ("jobs", "gpus", "hours"),
    [
        ([], 4, 0.0),
        ([(1, 3.0), (1, 2.0), (1, 1.0)], 1, 6.0),
        ([(1, 3.0), (1, 2.0), (1, 1.0)], 2, 3.0),
        ([(4, 2.0), (2, 5.0), (2, 1.0)], 4, 7.0),
        ([(3, 4.0), (2, 3.0), (1, 2.0)], 4, 7.0),
        ([(1, 1.0), (3, 3.0), (1, 1.0)], 4, 3.0),  # the longest first
        ([(8, 1.0)], 4, None),
    ],
)
def test_wall_clock(jobs: list[tuple[int, float]], gpus: int, hours: float | None) -> None:
    assert wall_clock(jobs, gpus) == hours


def test_a_budget_is_held_against_the_whole_grid(tmp_path: Path) -> None:
    paper = cells("deepseek-r1-distill-qwen-1.5b")
    record(tmp_path, paper[0], 3, seconds=360.0)
    whole = totals(paper, Costs(Recorded(tmp_path)), {}, None)

    def budget(**limits: float) -> Any:
        return SimpleNamespace(budget=SimpleNamespace(**{"gpu_hours": None, "hours": None, **limits}))

    assert over_budget(budget(gpu_hours=2500.0, hours=301.0), whole) == []
    assert over_budget(grid(), whole) == []
    (found,) = over_budget(budget(gpu_hours=2000.0), whole)
    assert (found.level, found.key) == ("warning", "budget.gpu_hours")
    assert "2,400.0 GPU-hours, 400.0 over its budget of 2,000" in found.message
    (found,) = over_budget(budget(hours=200.0), whole)
    assert found.key == "budget.hours"
    unknown = totals(cells("toy-m"), Costs(Recorded(tmp_path)), {}, None)
    (found,) = over_budget(budget(hours=1.0), unknown)
    assert (found.level, "3 cells have no estimate" in found.message) == ("info", True)


def test_few_files_are_read_of_many_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cegppo_verl.experiment import recorded

    many = expand(grid(seeds=list(range(1, 101))))
    for cell in many:
        record(tmp_path, cell, 2)
    opened: list[Path] = []

    def noted(read: Any) -> Any:
        def reader(path: Path) -> Any:
            opened.append(path)
            return read(path)

        return reader

    for name in ("read_json", "_tail"):
        monkeypatch.setattr(recorded, name, noted(getattr(recorded, name)))
    costs = Costs(Recorded(tmp_path))
    for cell in many:
        assert costs.estimate(cell).basis.startswith("measured: 5 of 120 runs")
    names = [path.name for path in opened]
    assert (names.count("cell.json"), names.count("metrics.jsonl")) == (
        recorded.MOST_CELLS,
        recorded.MOST_RUNS,
    )

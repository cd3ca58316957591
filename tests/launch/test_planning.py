"""What plan, status and report find out before they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from experiment.earlier_runs import evaluated, record
from launch.fake_trainer import grid_text, make_cells
from rich.console import Console

from cegppo_verl.bench import runner_plan
from cegppo_verl.errors import UserError
from cegppo_verl.experiment.cost import Costs
from cegppo_verl.experiment.recorded import Recorded
from cegppo_verl.launch import composing, costing, jobs, planning, runner


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    (tmp_path / "fake.yaml").write_text(grid_text(arms=("grpo", "dapo")))
    return tmp_path / "fake.yaml"


def test_options_replace_what_the_file_says(grid: Path) -> None:
    loaded, cells = planning.load(grid, "toy-s", [4, 5])
    assert (loaded.scales, loaded.seeds) == (["toy-s"], [4, 5])
    assert [c.slug for c in cells] == [f"{arm}__toy-s__seed{n}" for n in (4, 5) for arm in ("grpo", "dapo")]


def test_select_keeps_the_order_and_names_what_is_near(grid: Path) -> None:
    cells = planning.load(grid, None, None)[1]
    assert planning.select(cells, ["dapo", "grpo"]) == cells
    assert planning.select(cells, []) == cells
    with pytest.raises(UserError, match="'dapoo'") as caught:
        planning.select(cells, ["grpo", "dapoo"])
    assert "did you mean 'dapo'" in str(caught.value.hint)
    assert caught.value.key == "--arm"


class Verl:
    """verl's own configuration check, as a stand-in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = 0, error: str = "") -> None:
        self.calls: list[dict[str, Any]] = []

        def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
            self.calls.append({"command": command, **more})
            return subprocess.CompletedProcess(command, code, "", error)

        monkeypatch.setattr(composing.importlib.util, "find_spec", lambda name: object())
        monkeypatch.setattr(composing.subprocess, "run", run)


def test_one_cell_per_arm_and_scale_is_composed(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verl = Verl(monkeypatch)
    text = composing.verdict(planning.load(grid, None, [1, 2, 3])[1], grid.parent / "results")
    assert text.startswith("verl accepts the configuration of 2 cells")
    (call,) = verl.calls
    assert call["command"][:3] == [sys.executable, "-m", "cegppo_verl.verl_plugin.compose"]
    assert call["input"].count("trainer.resume_mode=disable") == 2
    assert '"hydra' not in call["input"]
    assert call["env"]["CEGPPO_RUN"] == "1"


def test_verls_refusal_is_the_users_error(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Verl(monkeypatch, 1, "Traceback\nValueError: [algorithm] is wrong\n")
    with pytest.raises(UserError, match=r"verl refuses.*ValueError: \[algorithm\] is wrong"):
        composing.verdict(planning.load(grid, None, None)[1], grid.parent)
    Verl(monkeypatch, 1, "")
    with pytest.raises(UserError, match=r"verl refuses the configuration: \?"):
        composing.verdict(planning.load(grid, None, None)[1], grid.parent)


def test_without_verl_nothing_is_claimed(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing.importlib.util, "find_spec", lambda name: None)
    text = composing.verdict(planning.load(grid, None, None)[1], grid.parent)
    assert "not validated" in text


def test_status_prints_a_line_per_cell_and_writes_nothing(grid: Path) -> None:
    console = Console(record=True, width=160)
    cell = make_cells(grid.parent)[0]
    run = runner.run_dir(cell, grid.parent / "results")
    run.create(runner.cell_json(cell))
    run.new_attempt().update(number=1, outcome="failed", cause="KeyError: '[/red]'")
    before = sorted((grid.parent / "results").rglob("*"))
    grid.write_text(grid_text(arms=("grpo", "dapo")))
    planning.show_status(grid, None, None, grid.parent / "results", console)
    lines = console.export_text().splitlines()
    assert "failed, step 0 of 4: KeyError: '[/red]'" in lines[1]
    assert "planned, step 0 of 4" in lines[2]
    assert sorted((grid.parent / "results").rglob("*")) == before


def test_a_report_sees_runs_that_have_not_begun(grid: Path) -> None:
    loaded, views = planning.run_views(grid, None, None, grid.parent / "results")
    assert loaded.name == "fake"
    seen = [(v.arm, v.progress(), v.total_steps) for v in views]
    assert seen == [("grpo", "not run", 4), ("dapo", "not run", 4)]
    assert not (grid.parent / "results").exists()


def plan_text(grid: Path, width: int = 160, **options: Any) -> str:
    console = Console(record=True, width=width)
    planning.show(grid, None, None, grid.parent / "results", console, **{"check": False, **options})
    return console.export_text()


def test_a_plan_says_how_far_everything_is(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "arguments", lambda *_: pytest.fail("nothing is composed without --check"))
    text = plan_text(grid)
    assert text.count("planned") == 2
    assert "Does the runner do what it says?" in text
    assert "left to do" not in text  # it is the whole grid
    assert not (grid.parent / "results").exists()


def test_a_plan_says_why_a_cell_counts_as_done_and_where_it_is(grid: Path) -> None:
    first, second = planning.load(grid, None, None)[1]
    results, total = grid.parent / "results", first.settings.total_steps
    evaluated(record(results, first, total, startup=1.0), first, total)
    evaluated(record(results, second, total, grid="baselines"), second, total)
    text = plan_text(grid)
    assert text.count(f"done: {total} of {total} steps, evaluated at {total}") == 2
    assert f"records: {results / 'fake'}" in text
    assert "results/baselines/" in text.replace("\n", "")
    assert text.count(f"evaluated at {total}, in ") == 1  # its own records are named once, below
    assert text.count("records: ") == 1
    assert "left to do  nothing" in text
    assert "1 cell is also in grid 'baselines'" in text


def test_a_plan_says_what_is_missing(grid: Path) -> None:
    first, second = planning.load(grid, None, None)[1]
    results, total = grid.parent / "results", first.settings.total_steps
    record(results, first, total, startup=1.0)
    record(results, second, 1, startup=1.0)
    text = plan_text(grid)
    assert f"failed, step {total} of {total}: the final evaluation (step {total}) is not complete" in text
    assert f"failed, step 1 of {total}: step 2 of {total} is not logged" in text


def test_what_a_checkpoint_keeps_is_not_paid_twice(grid: Path) -> None:
    cell = planning.load(grid, None, None)[1][0]
    record(grid.parent / "results", cell, 3, startup=1.0)
    found = planning.plan(grid, None, None, grid.parent / "results")
    assert found.done == {cell.id: 3 // cell.settings.checkpoint.every * cell.settings.checkpoint.every}


def test_many_cells_are_a_line_per_arm(grid: Path) -> None:
    grid.write_text(grid_text(arms=("grpo", "dapo"), seeds=list(range(1, 100))))
    text, everything = plan_text(grid), plan_text(grid, everything=True)
    assert "198 cells" in text
    assert len(text.splitlines()) < 40
    assert len([line for line in everything.splitlines() if line.endswith("planned")]) == 198


def test_the_cost_names_basis_gpus_and_what_does_not_fit(tmp_path: Path) -> None:
    demo = Path(__file__).parents[2] / "ablations" / "demo.yaml"
    paper = "deepseek-r1-distill-qwen-1.5b"
    record(tmp_path, planning.load(demo, paper, None)[1][0], 3, seconds=360.0)

    def text(gpus: int | None) -> str:
        console = Console(record=True, width=200)
        planning.show(demo, paper, None, tmp_path, console, check=False, gpus=gpus)
        return console.export_text()

    assert "2,400.0 GPU-hours, 300 h 00 min on 8 GPUs" in text(None)
    assert "2,400.0 GPU-hours, 200 h 00 min on 16 GPUs" in text(16)
    assert "a cell needs more than 4 GPUs" in text(4)
    assert f"measured: 1 run of {paper} in" in text(None)
    assert "evaluation never" in text(None)


def test_left_times_are_said_only_where_there_are_any(grid: Path) -> None:
    cells = planning.load(grid, None, None)[1]
    costs = Costs(Recorded(grid.parent))
    assert set(costing.left_by_cell(cells, costs, {})) == {cell.id for cell in cells}
    done = {cell.id: cell.settings.total_steps for cell in cells}
    assert costing.left_by_cell(cells, costs, done) == {}
    assert costing.left_by_arm(cells, costs, {cells[0].id: 99}) == costing.left_by_arm(cells[1:], costs, {})


def overrides_text(grid: Path, arms: list[str] | None = None) -> str:
    console = Console(record=True, width=80)
    planning.show_overrides(grid, None, None, grid.parent / "results", console, arms=arms)
    return console.export_text()


def test_overrides_are_shown_by_group_and_differences_for_other_arms(
    grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composing.importlib.util, "find_spec", lambda name: pytest.fail("no verl is needed"))
    first, _, other = overrides_text(grid).partition("# dapo: as above, but")
    for line in ("# grpo at toy-xs, seed 1", "# algorithm", "# platform", "algorithm.adv_estimator=grpo"):
        assert line in first.splitlines()
    assert "policy_loss.algorithm=dapo" in other
    assert "params.epsilon_high=0.28" in other
    assert "# without +actor_rollout_ref.actor.policy_loss.params.epsilon" in other.splitlines()
    assert "trainer.device" not in other
    assert "as above" not in overrides_text(grid, ["dapo"])
    with pytest.raises(UserError, match="'dap'"):
        overrides_text(grid, ["dap"])


def test_every_platform_is_judged_in_its_own_environment(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verl = Verl(monkeypatch)
    demo = Path(__file__).parents[2] / "ablations" / "demo.yaml"
    scales = ("toy-s", "smollm2-135m", "deepseek-r1-distill-qwen-1.5b", "toy-xs")
    cells = [cell for scale in scales for cell in planning.load(demo, scale, None)[1]]
    text = composing.verdict(cells, grid.parent)
    assert text.startswith("verl accepts the configuration of 12 cells")
    seen = [(call["env"].get("VERL_PLATFORM"), call["env"].get("OMP_NUM_THREADS")) for call in verl.calls]
    outside = os.environ.get("VERL_PLATFORM"), os.environ.get("OMP_NUM_THREADS")
    assert seen == [("cpu", outside[1]), ("cpu", "2"), outside]
    assert [call["input"].count("trainer.device=") for call in verl.calls] == [6, 3, 3]


def test_of_very_many_arms_one_of_a_kind_is_composed(grid: Path) -> None:
    arms = [
        {"name": f"a{n}", "algorithm": "grpo" if n % 2 else "dapo", "params": {"dual_clip": 2.0 + n}}
        for n in range(composing.MOST + 1)
    ]
    grid.write_text(json.dumps({**json.loads(grid_text()), "arms": arms}))
    cells = planning.load(grid, None, None)[1]
    assert sorted(cell.algorithm for cell in composing.representatives(cells)) == ["dapo", "grpo"]
    assert len(composing.representatives(cells[:-1])) == composing.MOST


def test_ten_thousand_cells_without_the_training_stack() -> None:
    """The limit proper is for a quiet machine (`cegppo bench runner`); here other tests use the cores too."""
    found = runner_plan.measure(10_000)
    assert found["cells"] == 10_000
    assert found["peak_megabytes"] < 500
    assert found["command_seconds"] < 10

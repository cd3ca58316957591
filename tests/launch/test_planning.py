"""What plan, status and report find out before they print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launch.fake_trainer import grid_text, make_cells
from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.launch import jobs, planning, runner


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

        monkeypatch.setattr(planning.importlib.util, "find_spec", lambda name: object())
        monkeypatch.setattr(planning.subprocess, "run", run)


def test_one_cell_per_arm_and_scale_is_composed(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verl = Verl(monkeypatch)
    text = planning.verdict(planning.load(grid, None, [1, 2, 3])[1], grid.parent / "results")
    assert text.startswith("verl accepts the configuration of 2 cells")
    (call,) = verl.calls
    assert call["command"][:3] == [sys.executable, "-m", "cegppo_verl.verl_plugin.compose"]
    assert call["input"].count("trainer.resume_mode=disable") == 2
    assert '"hydra' not in call["input"]
    assert call["env"]["CEGPPO_RUN"] == "1"


def test_verls_refusal_is_the_users_error(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Verl(monkeypatch, 1, "Traceback\nValueError: [algorithm] is wrong\n")
    with pytest.raises(UserError, match=r"verl refuses.*ValueError: \[algorithm\] is wrong"):
        planning.verdict(planning.load(grid, None, None)[1], grid.parent)
    Verl(monkeypatch, 1, "")
    with pytest.raises(UserError, match=r"verl refuses the configuration: \?"):
        planning.verdict(planning.load(grid, None, None)[1], grid.parent)


def test_without_verl_nothing_is_claimed(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.importlib.util, "find_spec", lambda name: None)
    text = planning.verdict(planning.load(grid, None, None)[1], grid.parent)
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


def test_a_plan_says_how_far_everything_is(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(record=True, width=160)
    monkeypatch.setattr(jobs, "arguments", lambda *_: pytest.fail("nothing is composed without --check"))
    planning.show(grid, None, None, grid.parent / "results", console, check=False)
    text = console.export_text()
    assert text.count("planned") == 2
    assert "Does the runner do what it says?" in text
    assert not (grid.parent / "results").exists()

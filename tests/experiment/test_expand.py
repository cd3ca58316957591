"""Grids become cells: order, settings, and the grids that are committed."""

from __future__ import annotations

import cProfile
import json
import pstats
import subprocess
import sys
from pathlib import Path

import pytest
from experiment.gridfile import HEAD

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell, read_cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Grid, load_grid
from cegppo_verl.experiment.overrides import compose_overrides, placeholder_paths
from cegppo_verl.experiment.settings import Benchmark

ABLATIONS = Path(__file__).parents[2] / "ablations"
GRIDS = sorted(ABLATIONS.glob("*.yaml"))


def grid(**changes: object) -> Grid:
    return load_grid(ABLATIONS / "demo.yaml").model_copy(update=changes)


def test_order_is_scale_then_seed_then_arm() -> None:
    cells = expand(grid(scales=["toy-s", "toy-xs"], seeds=[2, 1]))
    assert [(cell.scale, cell.seed, cell.arm) for cell in cells[:7]] == [
        ("toy-s", 2, "grpo"),
        ("toy-s", 2, "dapo-clip-higher"),
        ("toy-s", 2, "cegppo"),
        ("toy-s", 1, "grpo"),
        ("toy-s", 1, "dapo-clip-higher"),
        ("toy-s", 1, "cegppo"),
        ("toy-xs", 2, "grpo"),
    ]
    assert len({cell.id for cell in cells}) == len(cells) == 12


def test_names_do_not_count() -> None:
    first, other = expand(grid()), expand(grid(name="another"))
    assert [cell.id for cell in first] == [cell.id for cell in other]
    assert first[0].run_name == f"grpo__toy-s__seed1-{first[0].id}"


def test_twins_are_refused_in_code_too() -> None:
    arms = grid().arms
    twin = arms[0].model_copy(update={"name": "twin"})
    with pytest.raises(UserError, match="'twin' is the same run as 'grpo'"):
        expand(grid(arms=[*arms, twin]))


def test_defaults_are_written_out() -> None:
    smoke = expand(load_grid(ABLATIONS / "smoke.yaml"))[0]
    assert smoke.params == {
        "beta1": 0.5,
        "beta2": 1.0,
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "dual_clip": None,
    }


def test_settings_of_the_grid_win_key_by_key() -> None:
    smoke = expand(load_grid(ABLATIONS / "smoke.yaml"))[0].settings
    assert (smoke.total_steps, smoke.eval.every, smoke.eval.samples, smoke.checkpoint.every) == (2, 1, 1, 1)
    assert (smoke.learning_rate, smoke.eval.temperature) == (2e-4, 1.0)  # left as the preset has them


@pytest.mark.parametrize("scale", [None, "toy-s"])
@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.stem)
def test_committed_grids_expand_and_compose(file: Path, scale: str | None) -> None:
    loaded = load_grid(file, scale=scale)
    cells = expand(loaded)
    assert loaded.name == file.stem
    assert len({cell.id for cell in cells}) == len(cells) == loaded.cell_count
    for cell in {(cell.scale, cell.arm): cell for cell in cells}.values():
        lines = compose_overrides(cell, catalog.scale(cell.scale), placeholder_paths())
        assert f"trainer.experiment_name={cell.run_name}" in lines
        assert Cell.model_validate(cell.model_dump()) == cell  # built without checks, and yet sound


def test_the_demo_is_the_measured_recipe() -> None:
    cells = expand(load_grid(ABLATIONS / "demo.yaml"))
    settings = cells[0].settings
    assert [cell.arm for cell in cells] == ["grpo", "dapo-clip-higher", "cegppo"]
    assert (settings.rollouts_per_step, settings.updates_per_step, settings.total_steps) == (256, 8, 24)
    assert {cell.settings for cell in cells} == {settings}


@pytest.mark.parametrize("name", sorted(catalog.scales()))
def test_every_scale_runs_with_its_own_preset(name: str) -> None:
    cells = expand(load_grid(ABLATIONS / "demo.yaml", scale=name))
    assert {cell.settings.task for cell in cells} <= set(catalog.scale(name).tasks)


def test_catalogue_names_are_file_names() -> None:
    for found in (catalog.scales(), catalog.presets(), catalog.tasks()):
        assert [entry.name for entry in found.values()] == list(found)


def test_cell_json_round_trip(tmp_path: Path) -> None:
    cell = expand(load_grid(ABLATIONS / "demo.yaml"))[2]
    file = tmp_path / "cell.json"
    file.write_text(cell.to_json())
    assert read_cell(file) == cell
    assert json.loads(file.read_text())["schema"] == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not a readable cell"),
        ("[]", "schema None"),
        ('{"schema": 9}', "schema 9"),
        ('{"schema": 1}', "required"),
    ],
)
def test_damaged_cell_json(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "cell.json"
    file.write_text(text)
    with pytest.raises(UserError, match=word) as caught:
        read_cell(file)
    assert caught.value.file == file


def test_cells_cannot_be_changed() -> None:
    cell: Cell = expand(grid())[0]
    with pytest.raises(ValueError, match="frozen"):
        cell.seed = 3


HUNDRED = "[" + ", ".join(f"{i / 100}" for i in range(100)) + "]"
LARGE = {
    "seeds": f"seeds: {list(range(3334))}\narms: [{{name: a, algorithm: grpo}}, {{name: b, algorithm: dapo}},"
    "{name: c, algorithm: gppo}]",
    "arms": "seeds: [1]\narms: [{name: 'b-{beta1}-{beta2}', algorithm: cegppo, "
    f"product: {{beta1: {HUNDRED}, beta2: {HUNDRED}}}}}]",
    "arms and settings": "seeds: [1]\narms: [{name: 'b-{beta1}-{settings.weight_decay}', algorithm: cegppo, "
    f"params: {{beta2: 1}}, product: {{beta1: {HUNDRED}, settings.weight_decay: {HUNDRED}}}}}]",
}


@pytest.mark.parametrize("arms", LARGE.values(), ids=list(LARGE))
def test_a_cell_of_ten_thousand_costs_a_few_calls(tmp_path: Path, arms: str) -> None:
    """Counted and not timed: the seconds are those of `cegppo bench runner`, on a machine that is quiet."""
    file = tmp_path / "large.yaml"
    file.write_text(HEAD.replace("seeds: [1]\n", "") + arms)
    profile = cProfile.Profile()
    cells = profile.runcall(lambda: expand(load_grid(file)))
    assert len(cells) in (10_000, 10_002)
    calls = pstats.Stats(profile).total_calls / len(cells)  # type: ignore[attr-defined]
    assert calls < 900  # 439 with an arm per cell, below 150 otherwise; anything quadratic has thousands


def test_a_changed_copy_is_resolved_anew() -> None:
    loaded = load_grid(ABLATIONS / "demo.yaml")
    longer = loaded.model_copy(update={"settings": {"total_steps": 48}})
    assert [cell.settings.total_steps for cell in expand(longer)] == [48] * 3
    assert [cell.settings.total_steps for cell in expand(loaded)] == [24] * 3


def test_missing_real_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)aime24.*missing data file.*CEGPPO_ASSETS") as caught:
        catalog.benchmark_files("math", ["aime24"], tmp_path)
    assert str(tmp_path) in str(caught.value.file)
    file = tmp_path / "AIME24" / "test.parquet"
    file.parent.mkdir()
    file.touch()
    assert catalog.benchmark_files("math", ["aime24"], tmp_path) == [file]
    assert catalog.benchmark_files("pick", ["pick-val"], tmp_path) == []
    assert catalog.train_file("pick", tmp_path) is None
    with pytest.raises(UserError, match="training data of task 'math'"):
        catalog.train_file("math", tmp_path)


def test_importing_is_light() -> None:
    """Counted in modules: a time of half a second was kept or not by the day's speed of the machine."""
    code = (
        "import sys;"
        "import cegppo_verl.experiment.overrides, cegppo_verl.experiment.expand, cegppo_verl.experiment.plan;"
        "print(len(sys.modules));"
        "print(*{'torch', 'ray', 'verl', 'vllm', 'transformers', 'hydra', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, heavy = done.stdout.split("\n")[:2]
    assert heavy == ""
    assert int(modules) < 500


def test_the_catalogue_knows_how_many_problems_there_are() -> None:
    from cegppo_verl.toy import code, instruct, pick, words

    known = catalog.tasks()
    assert known["pick"].train_problems == len(pick.all_prompts("train"))
    assert known["pick"].benchmarks["pick-val"].problems == len(pick.all_prompts("validation"))
    for name, module in {"words": words, "code-toy": code, "instruct-toy": instruct}.items():
        assert known[name].train_problems == module.MOST["train"]
        assert known[name].benchmarks[f"{name}-val"].problems == module.MOST["validation"]


def test_null_problems_are_all_there_are() -> None:
    asked = Benchmark(name="aime24", samples=2)
    assert catalog.problem_count("math", asked) == 30
    assert catalog.problem_count("math", asked.model_copy(update={"problems": 5})) == 5

"""Grids become cells: order, identity, and the grids that are committed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog, identity
from cegppo_verl.experiment.cell import Cell, read_cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Grid, load_grid
from cegppo_verl.experiment.settings import Benchmark, Settings

ABLATIONS = Path(__file__).parents[2] / "ablations"
PARAMS: dict[str, float | None] = {
    "beta1": 0.5,
    "beta2": 1.0,
    "epsilon_low": 0.2,
    "epsilon_high": 0.2,
    "dual_clip": None,
}
SCALE: dict[str, Any] = {
    "name": "golden",
    "summary": "a scale of this test's own, so that the golden identity hangs on no recipe",
    "platform": "cpu",
    "preset": "toy-pick",
    "tasks": ["pick"],
    "model": {"name": "golden", "built": "by hand"},
    "precision": {"train": "fp32", "rollout": "float32"},
    "max_prompt_length": 16,
    "max_response_length": 6,
    "hardware": {
        "nodes": 1,
        "gpus_per_node": 1,
        "tensor_parallel": 1,
        "sequence_parallel": 1,
        "offload": False,
    },
    "engine": {"max_num_seqs": 256, "max_num_batched_tokens": 8192, "log_prob_micro_batch_size": 256},
}
SETTINGS: dict[str, Any] = {
    "task": "pick",
    "train_prompts": 4096,
    "total_steps": 24,
    "train_batch_size": 32,
    "rollouts_per_prompt": 8,
    "mini_batch_size": 8,
    "ppo_epochs": 2,
    "micro_batch_size": 64,
    "learning_rate": 2e-4,
    "warmup_steps": 0,
    "weight_decay": 0.01,
    "grad_clip": 1.0,
    "temperature": 1.0,
    "top_p": 1.0,
    "loss_agg_mode": "token-mean",
    "entropy_coeff": 0.0,
    "kl_loss_coef": 0.0,
    "norm_adv_by_std": True,
    "max_prompt_length": 16,
    "max_response_length": 6,
    "eval": {
        "every": 6,
        "benchmarks": [{"name": "pick-val", "samples": 2, "problems": 128}],
        "temperature": 1.0,
        "top_p": 1.0,
        "at_start": True,
    },
    "checkpoint": {"every": 6, "keep": 1},
}


def change(base: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {**base, head: change(base[head], rest, value) if rest else value}


def golden(
    algorithm: str = "cegppo",
    params: dict[str, float | None] = PARAMS,
    scale: dict[str, Any] = SCALE,
    settings: dict[str, Any] = SETTINGS,
    seed: int = 1,
) -> str:
    resolved = catalog.Scale.model_validate(scale), Settings.model_validate(settings)
    return identity.digest(identity.content(algorithm, params, *resolved, seed))


GOLDEN = "68070f7875e1"  # if this changes, every finished run is forgotten: raise a version instead

COUNTS = {
    "algorithm": {"algorithm": "other"},
    "beta1": {"params": {**PARAMS, "beta1": 0.75}},
    "dual_clip": {"params": {**PARAMS, "dual_clip": 10.0}},
    "seed": {"seed": 2},
    "model": {"scale": change(SCALE, "model.name", "other")},
    "weights": {"scale": change(SCALE, "model.built", "otherwise")},
    "train precision": {"scale": change(SCALE, "precision.train", "bf16")},
    "rollout precision": {"scale": change(SCALE, "precision.rollout", "bfloat16")},
} | {
    f"settings.{path}": {"settings": change(SETTINGS, path, value)}
    for path, value in {
        "task": "words",
        "train_prompts": 2048,
        "total_steps": 25,
        "train_batch_size": 64,
        "rollouts_per_prompt": 16,
        "mini_batch_size": 16,
        "ppo_epochs": 1,
        "micro_batch_size": 32,
        "learning_rate": 1e-4,
        "warmup_steps": 1,
        "weight_decay": 0.1,
        "grad_clip": 0.5,
        "temperature": 0.9,
        "top_p": 0.9,
        "loss_agg_mode": "seq-mean-token-mean",
        "entropy_coeff": 0.001,
        "kl_loss_coef": 0.001,
        "norm_adv_by_std": False,
        "max_prompt_length": 17,
        "max_response_length": 7,
        "eval.every": 3,
        "eval.benchmarks": [{"name": "pick-val", "samples": 4, "problems": 128}],
        "eval.temperature": 0.6,
        "eval.top_p": 0.95,
        "eval.at_start": False,
    }.items()
}
DOES_NOT_COUNT = {
    "checkpoint interval": {"settings": change(SETTINGS, "checkpoint.every", 1)},
    "checkpoints kept": {"settings": change(SETTINGS, "checkpoint.keep", 3)},
    "scale's name": {"scale": change(SCALE, "name", "renamed")},
    "scale's text": {"scale": change(SCALE, "summary", "rewritten")},
    "machine": {"scale": change(SCALE, "platform", "cuda")},
    "nodes": {"scale": change(SCALE, "hardware.nodes", 16)},
    "GPUs": {"scale": change(SCALE, "hardware.gpus_per_node", 8)},
    "vLLM's GPUs": {"scale": change(SCALE, "hardware.tensor_parallel", 2)},
    "offload": {"scale": change(SCALE, "hardware.offload", True)},
    "concurrency": {"scale": change(SCALE, "engine.max_num_seqs", 64)},
    "order of parameters": {"params": dict(reversed(PARAMS.items()))},
    "1 instead of 1.0": {"settings": change(SETTINGS, "grad_clip", 1)},
}


@pytest.fixture(autouse=True)
def _data_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(identity.DATA_VERSIONS, "pick", 1)


def test_identity_is_stable() -> None:
    assert golden() == GOLDEN


@pytest.mark.parametrize("changed", COUNTS.values(), ids=list(COUNTS))
def test_what_can_change_the_numbers_changes_the_identity(changed: dict[str, Any]) -> None:
    assert golden(**changed) != GOLDEN


@pytest.mark.parametrize("changed", DOES_NOT_COUNT.values(), ids=list(DOES_NOT_COUNT))
def test_what_cannot_change_the_numbers_does_not(changed: dict[str, Any]) -> None:
    assert golden(**changed) == GOLDEN


def test_every_setting_is_covered_above() -> None:
    named = {key.removeprefix("settings.").split(".")[0] for key in COUNTS if key.startswith("settings.")}
    assert named | {"checkpoint"} == set(Settings.model_fields)


@pytest.mark.parametrize("name", ["LOSS_VERSION", "GRADER_VERSION", "ENGINE_VERSION"])
def test_versions_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, name, "next")
    assert golden() != GOLDEN


def test_a_new_generator_is_new_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(identity.DATA_VERSIONS, "pick", 99)
    assert golden() != GOLDEN


def test_the_grader_is_the_one_that_is_installed() -> None:
    from cegppo_verl.evaluation.grading import grader_id

    assert grader_id() == identity.GRADER_VERSION


def test_the_catalogue_knows_how_many_problems_there_are() -> None:
    from cegppo_verl.toy import pick, words

    known = catalog.tasks()
    assert known["pick"].train_problems == len(pick.all_prompts("train"))
    assert known["pick"].benchmarks["pick-val"].problems == len(pick.all_prompts("validation"))
    assert known["words"].train_problems == words.MOST["train"]
    assert known["words"].benchmarks["words-val"].problems == words.MOST["validation"]


def test_null_problems_are_all_there_are() -> None:
    asked = Benchmark(name="aime24", samples=2)
    assert catalog.problem_count("math", asked) == 30
    assert catalog.problem_count("math", asked.model_copy(update={"problems": 5})) == 5


def test_a_new_recipe_is_a_new_model(monkeypatch: pytest.MonkeyPatch) -> None:
    before = catalog.scale("toy-s").identity()
    monkeypatch.setattr(catalog, "model_recipe", lambda name: {"steps": 1})
    assert catalog.scale("toy-s").identity() != before


def ids(path: Path) -> list[str]:
    return [cell.id for cell in expand(load_grid(path))]


def test_identities_are_the_same_in_another_process() -> None:
    code = (
        "import sys; from cegppo_verl.experiment.grid import load_grid;"
        "from cegppo_verl.experiment.expand import expand;"
        "print(*[cell.id for cell in expand(load_grid(sys.argv[1]))])"
    )
    file = ABLATIONS / "demo.yaml"
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ids(file)


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


@pytest.mark.parametrize("file", sorted(ABLATIONS.glob("*.yaml")), ids=lambda file: file.stem)
def test_committed_grids_expand(file: Path) -> None:
    loaded = load_grid(file)
    assert loaded.name == file.stem
    assert len(expand(loaded)) == loaded.cell_count


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


def test_ten_thousand_cells_in_two_seconds() -> None:
    many = grid(seeds=list(range(3334)))
    start = time.process_time()  # of this process only: other work on the machine does not count
    assert len(expand(many)) == 10_002
    assert time.process_time() - start < 2


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
    code = (
        "import sys, time; start = time.process_time();"
        "import cegppo_verl.experiment.overrides, cegppo_verl.experiment.expand, cegppo_verl.experiment.plan;"
        "print(time.process_time() - start);"
        "print(*{'torch', 'ray', 'verl', 'vllm', 'transformers', 'hydra', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = done.stdout.split("\n")[:2]
    assert heavy == ""
    assert float(seconds) < 0.5

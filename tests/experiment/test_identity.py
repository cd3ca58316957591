"""A cell's identity changes with everything that can change its numbers, and with nothing else."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cegppo_verl.experiment import catalog, identity, trainers
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.losses.registry import LOSSES

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
    "checkpoint": {"every": 6, "keep": 2},
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
    "algorithm": {"algorithm": "dapo"},
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
    "vLLM's GPUs": {"scale": change(change(SCALE, "hardware.nodes", 2), "hardware.tensor_parallel", 2)},
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


def test_the_graders_version_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "GRADER_VERSION", "next")
    assert golden() != GOLDEN


def test_the_trainer_and_its_version_count(monkeypatch: pytest.MonkeyPatch) -> None:
    by_reference = {**SCALE, "trainer": "reference"}
    other = golden(scale=by_reference)
    monkeypatch.setitem(trainers.VERSIONS, "reference", "next")
    assert len({GOLDEN, other, golden(scale=by_reference)}) == 3
    monkeypatch.setitem(trainers.VERSIONS, "verl", "next")
    assert golden() != GOLDEN


def test_a_losss_version_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "cegppo", dataclasses.replace(LOSSES["cegppo"], version="2"))
    assert golden() != GOLDEN


def test_of_a_loss_from_a_file_the_text_counts_and_the_folder_does_not(tmp_path: Path) -> None:
    text = (
        "import dataclasses\nfrom cegppo_verl.losses.ppo_clip import GRPO\n"
        "LOSS = dataclasses.replace(GRPO, runs=None, verl=None)\n"
    )
    files = [tmp_path / folder / "mine.py" for folder in "abc"]
    for file, ending in zip(files, ("", "", "# changed\n"), strict=True):
        file.parent.mkdir()
        file.write_text(text + ending)
    same, again, changed = (golden(algorithm=str(file), params={"epsilon": 0.2}) for file in files)
    assert same == again != changed


def test_a_new_generator_is_new_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(identity.DATA_VERSIONS, "pick", 99)
    assert golden() != GOLDEN


def test_the_grader_is_the_one_that_is_installed() -> None:
    from cegppo_verl.evaluation.grading import grader_id

    assert grader_id() == identity.GRADER_VERSION


@pytest.mark.parametrize("task", ["pick", "words", "code-toy", "instruct-toy"])
def test_the_grader_of_a_task_is_that_of_its_rows(task: str) -> None:
    from cegppo_verl.evaluation.graders import grader_id
    from cegppo_verl.toy.assets import TASKS

    (row,) = TASKS[task][0]("validation", f"{task}-val", 1, 0)
    settings = Settings.model_validate(change(SETTINGS, "task", task))
    content = identity.content("cegppo", PARAMS, catalog.Scale.model_validate(SCALE), settings, 1)
    assert content["grader"] == grader_id(row["extra_info"]["extract"])
    assert task == "pick" or content["data"] == TASKS[task][1]


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

"""A cell through the reference trainer: complete records, the same each time, no verl in the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.experiment.trainers import require_supported
from cegppo_verl.launch import attempt
from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.records import progress
from cegppo_verl.records.anatomy import anatomy
from cegppo_verl.records.metrics import load_metrics
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.samples import completeness, load_samples
from cegppo_verl.reference import train
from cegppo_verl.reference.train import Files
from cegppo_verl.toy import assets, store

GRID = """
name: reference
question: Does the reference trainer record what it does?
hypothesis: It does, step by step.
refuted_by: A step that is missing.
scales: [toy-xs-reference]
seeds: [1]
settings:
  total_steps: 2
  train_prompts: 64
  train_batch_size: 8
  mini_batch_size: 4
  micro_batch_size: 16
  eval: {every: 1, benchmarks: [{name: pick-val, samples: 2, problems: 10}]}
arms:
"""
ARMS = {
    "cegppo": "{beta1: 0.5, beta2: 1.0}",
    "adaptive_beta": "{target: 0.6, gain_i: 0.67}",
    "cegppo_released": "{beta1: 0.5, beta2: 1.0}",
    "bapo": "{}",
    "erc": "{}",
    "gspo": "{}",
}


@pytest.fixture(scope="module")
def inputs() -> dict[str, Path]:
    """The base model, which is right now and then: there is something to learn; and a few problems."""
    return {
        "model": assets.ensure_model("toy-xs"),
        "train": assets.ensure_data("pick", "train", n=64),
        "val": assets.ensure_data("pick", "pick-val", n=10),
    }


def cell(tmp_path: Path, algorithm: str = "cegppo", params: str | None = None) -> Cell:
    file = tmp_path / "reference.yaml"
    words = ARMS[algorithm] if params is None else params
    file.write_text(GRID + f"  - {{name: arm, algorithm: {algorithm}, params: {words}}}\n")
    return expand(load_grid(file))[0]


def trained(tmp_path: Path, inputs: dict[str, Path], which: Cell) -> RunDir:
    torch.set_num_threads(1)
    run = RunDir(tmp_path / "run")
    run.create(cell_json(which))
    made = run.new_attempt()
    run.validation.mkdir(exist_ok=True)
    made.update(resumed_from=0)
    train.train(
        which,
        Files(
            cell=run.cell_file,
            loss=which.algorithm,
            model=inputs["model"],
            train=inputs["train"],
            validation=(inputs["val"],),
            metrics=made.metrics_file,
            samples=run.validation,
        ),
    )
    return run


def lines(run: RunDir) -> list[dict[str, Any]]:
    logged = run.attempts()[-1].metrics_file.read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line)["data"].items() if not k.startswith("timing_s/")}
        for line in logged
    ]


@pytest.mark.parametrize("algorithm", ARMS)
def test_a_run_is_done_by_the_tools_own_proof(
    algorithm: str, tmp_path: Path, inputs: dict[str, Path]
) -> None:
    which = cell(tmp_path, algorithm)
    run = trained(tmp_path, inputs, which)
    assert progress.missing(run, cell_json(which)) is None
    samples = load_samples(run.path, cell_id=which.id, seed=1)
    benchmarks = [b.model_dump() for b in which.settings.eval.benchmarks]
    assert [completeness(samples, step, benchmarks) for step in (0, 1, 2)] == [[]] * 3
    shares = anatomy(load_metrics(run.path))
    regions = sum(shares[name] for name in ("neg_below", "pos_above", "neg_above", "pos_below", "inside"))
    assert shares["step"].tolist() == [1, 2]
    assert all(0.5 < share <= 1.0 + 1e-9 for share in regions)


def test_a_cell_comes_out_the_same_each_time(tmp_path: Path, inputs: dict[str, Path]) -> None:
    which = cell(tmp_path)
    runs = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        runs.append(trained(tmp_path / name, inputs, which))
    assert lines(runs[0]) == lines(runs[1])
    dumps = [(run.validation / "2.jsonl").read_text() for run in runs]
    assert dumps[0] == dumps[1]


def test_a_schedule_is_in_force_and_logged(tmp_path: Path, inputs: dict[str, Path]) -> None:
    which = cell(tmp_path, "cegppo", "{beta1: {1: 0.0, 2: 0.75}, beta2: 1.0}")
    logged = lines(trained(tmp_path, inputs, which))
    assert [line.get("actor/control/beta1") for line in logged] == [None, 0.0, 0.75]


def test_two_runners_at_once_share_a_grid(tmp_path: Path, inputs: dict[str, Path]) -> None:
    """Reference cells do not take the machine to themselves: nothing but the cells' own locks is between."""
    cell(tmp_path)
    file, results = tmp_path / "reference.yaml", tmp_path / "runs"
    command = [sys.executable, "-m", "cegppo_verl.cli", "run", str(file), "--results", str(results)]
    command += ["--seed", "1", "--seed", "2", "--seed", "3"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    said = [process.communicate(timeout=240)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    runs = [RunDir(path.parent) for path in results.glob("*/*/cell.json")]
    assert len(runs) == 3
    for run in runs:
        assert len(run.attempts()) == 1, said
        assert progress.missing(run, json.loads(run.cell_file.read_text())) is None


def test_methods_without_a_closed_form_are_refused() -> None:
    scale = catalog.scale("toy-s-reference")
    lengths = {key: getattr(scale, key) for key in ("max_prompt_length", "max_response_length")}
    settings = Settings.model_validate({**lengths, **catalog.preset("toy-pick").settings})
    for name, loss in LOSSES.items():
        if loss.weight is None:
            with pytest.raises(UserError, match=f"closed form of '{name}'"):
                require_supported(scale, name, settings)
        else:
            require_supported(scale, name, settings)
    for key in ("kl_loss_coef", "warmup_steps"):
        with pytest.raises(UserError) as found:
            require_supported(scale, "grpo", settings.model_copy(update={key: 1}))
        assert found.value.key == f"settings.{key}"
    require_supported(catalog.scale("toy-s"), "clip_cov", settings.model_copy(update={"warmup_steps": 1}))


def test_the_loop_runs_without_verl_ray_and_vllm() -> None:
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "tensordict", "transfer_queue", "verl", "vllm"):
            raise ImportError(f"{name} must not be imported here")
sys.meta_path.insert(0, Block())
import cegppo_verl.reference.train
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_attempt_brings_a_reference_cell_to_its_end(tmp_path: Path, inputs: dict[str, Path]) -> None:
    which = cell(tmp_path)
    run = RunDir(tmp_path / "results" / which.grid / which.run_name)
    run.create(cell_json(which))
    assert attempt.execute(which, run) == attempt.COMPLETED
    assert progress.missing(run, cell_json(which)) is None
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["engine"] == "reference"
    assert str(store.assets_root()) not in (run.path / "attempts/001/command.txt").read_text()


def test_a_loss_from_a_relative_file_is_found_from_the_attempts_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "import dataclasses\nfrom cegppo_verl.losses.ppo_clip import GRPO\n"
        "LOSS = dataclasses.replace(GRPO, runs=None, verl=None)\n"
    )
    which = cell(tmp_path, "mine.py", "{epsilon: 0.2}")
    run = RunDir(tmp_path / "results" / which.grid / which.run_name)
    run.create(cell_json(which))
    assert attempt.execute(which, run) == attempt.COMPLETED

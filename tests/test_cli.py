"""The verbs: exit codes, what they print, and that bad input or a dry run writes nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_attempt, write_validation
from typer.testing import CliRunner

from cegppo_verl import cli
from cegppo_verl.errors import UserError
from cegppo_verl.launch import planning, runner
from cegppo_verl.launch.environment_checks import machine
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
    assert main(monkeypatch, "status", "x.yaml") == 2
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
    assert re.search(r"grpo__toy-xs__seed1 .*done, 4 steps", status.stdout)
    assert re.search(r"clip-higher__toy-xs__seed1 .*planned, step 0 of 4", status.stdout)
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
        seen.append(arguments[-1])
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

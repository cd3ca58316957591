"""`cegppo pack` and `unpack`: a grid's finished runs in one file, and back."""

from __future__ import annotations

from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from cegppo_verl.cli import app

ROOT = Path(__file__).resolve().parents[2]
GRID = str(ROOT / "ablations/demo.yaml")


def cli(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_finished_runs_are_packed_and_come_back(tmp_path: Path) -> None:
    committed, out, new = ROOT / "results/runs", tmp_path / "archives", tmp_path / "runs"
    assert cli("pack", GRID, "--results", str(committed), "--out", str(out)).exit_code == 0
    (file,) = out.iterdir()
    assert file.name == "demo__toy-s.tar.xz"
    assert "restored" in cli("unpack", str(file), "--results", str(new)).output
    assert "3 cells: 3 done" in cli("status", GRID, "--results", str(new)).output


def test_a_grid_without_finished_runs_is_not_packed(tmp_path: Path) -> None:
    done = cli("pack", GRID, "--results", str(tmp_path), "--out", str(tmp_path))
    assert "no run of it is finished" in f"{done.output}{done.exception}"
    assert not any(tmp_path.iterdir())

"""Real runs through verl, Ray, FSDP2 and vLLM on the CPU; tests share a run where they can."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cegppo_verl.launch.planning import load
from cegppo_verl.launch.runner import run_dir
from cegppo_verl.records.rundir import RunDir

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "ablations" / "smoke.yaml"


class Runs:
    """A results folder and grids derived from ablations/smoke.yaml."""

    smoke = SMOKE

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"

    def grid(self, name: str, arms: list[dict[str, Any]] | None = None, **settings: Any) -> Path:
        """smoke.yaml under another name with other settings, and other arms if any are given."""
        grid = yaml.safe_load(SMOKE.read_text())
        grid["name"] = name
        grid["arms"] = arms or grid["arms"]
        grid["settings"] = {**grid["settings"], **settings}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(grid))
        return path

    def command(self, grid: Path, *options: str) -> list[str]:
        """``cegppo run`` as a person starts it."""
        call = [sys.executable, "-m", "cegppo_verl.cli", "run", str(grid)]
        return [*call, "--results", str(self.results), *options]

    def run(self, grid: Path, *options: str, **environment: Any) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            self.command(grid, *options), capture_output=True, text=True, **{"timeout": 500, **environment}
        )

    def run_dir(self, grid: Path) -> RunDir:
        """The run directory of the grid's only cell."""
        return run_dir(load(grid, None, None)[1][0], self.results)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def smoke(runs: Runs) -> tuple[subprocess.CompletedProcess[str], RunDir]:
    """The two-step cell of ablations/smoke.yaml, run once."""
    done = runs.run(SMOKE)
    return done, runs.run_dir(SMOKE)


@pytest.fixture(scope="session")
def log_of() -> Callable[[RunDir], str]:
    """The end of the newest attempt's log, for messages of failed assertions."""
    return lambda run: run.attempts()[-1].log_file.read_text(errors="replace")[-3000:]

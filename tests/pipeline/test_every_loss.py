"""Every registered loss takes two real steps through verl: `make nightly`, records in results/runs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cegppo_verl.launch.planning import load
from cegppo_verl.launch.runner import run_dir
from cegppo_verl.losses import regions
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.records.progress import is_training_step, read_steps
from cegppo_verl.records.status import DONE, status_of

ROOT = Path(__file__).resolve().parents[2]
GRID = ROOT / "ablations" / "every_loss.yaml"
CELLS = load(GRID, None, None)[1]


def test_the_grid_names_every_loss_once():
    assert [cell.algorithm for cell in CELLS] == list(LOSSES)


def check(run):
    """The cell is done; each step has a finite, nonzero gradient and regions that add up to the tokens."""
    assert status_of(run, run.cell()).state == DONE
    steps = [s.data for s in read_steps(run.attempts()[-1].metrics_file) if is_training_step(s)]
    assert len(steps) == 2
    for data in steps:
        assert math.isfinite(data["actor/grad_norm"])
        assert data["actor/grad_norm"] > 0
        tokens = data["actor/anatomy/tokens"]
        counted = sum(data[f"actor/anatomy/{name}"] for name in regions.NAMES)
        assert 0 < counted <= tokens * (1 + 1e-9)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.arm)
def test_the_committed_records_are_complete(cell):
    """Of this very cell: another version or default of a loss is another identity, hence a gap here."""
    check(run_dir(cell, ROOT / "results" / "runs"))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_every_loss_trains(runs):
    done = runs.run(GRID, timeout=3500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for cell in CELLS:
        check(run_dir(cell, runs.results))

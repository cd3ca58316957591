"""Two data-parallel ranks of verl: what the driver and the mini-batch decide is in force on both."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from pipeline import recording_bapo

from cegppo_verl.losses import bapo
from cegppo_verl.records.progress import is_training_step, read_steps
from cegppo_verl.records.status import DONE, status_of

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]
STEPS, MINI_BATCHES, RANKS = 2, 2, 2
# Runner, node, driver and workers read the catalogue each for themselves, so each must find two logical GPUs
# there: FSDP over two gloo ranks, one vLLM engine each. Python imports this first thing in all of them.
SITECUSTOMIZE = """
import wrapt

def two_gpus(catalog):
    toy = catalog.scales()["toy-xs"]
    hardware = toy.hardware.model_copy(update={"gpus_per_node": 2})
    catalog.scales()["toy-xs"] = toy.model_copy(update={"hardware": hardware})

wrapt.register_post_import_hook(two_gpus, "cegppo_verl.experiment.catalog")
"""


@pytest.fixture(scope="module")
def trained(runs):
    """The run, and per rank what the loss noted: ``[{what, params, numbers}, …]`` in order."""
    folder = runs.folder / "two_ranks"
    folder.mkdir()
    loss = shutil.copy(Path(__file__).parent / "recording_bapo.py", folder)
    arm = {"name": "bapo", "algorithm": str(loss), "params": {}}
    grid = runs.grid("two_ranks", [arm], total_steps=STEPS, micro_batch_size=4)
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    done = runs.run(grid, timeout=800, env={**os.environ, "PYTHONPATH": str(folder)})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    notes = [(folder / f"rank{rank}.jsonl").read_text().splitlines() for rank in range(RANKS)]
    return runs.run_dir(grid), [list(map(json.loads, lines)) for lines in notes]


def logged(run):
    """The metrics of every training step."""
    return [s.data for s in read_steps(run.attempts()[-1].metrics_file) if is_training_step(s)]


def mini_batches(notes):
    """Per mini-batch of a rank: the sums that it collected, the notes of its updates."""
    groups = [list(group) for _, group in itertools.groupby(notes, key=lambda note: note["what"])]
    return [
        (added(*(note["numbers"] for note in collected)), updates)
        for collected, updates in zip(groups[::2], groups[1::2], strict=True)
    ]


def test_it_is_done_and_both_ranks_took_part(trained):
    run, notes = trained
    assert status_of(run, run.cell()).state == DONE
    for rank in notes:
        assert len(mini_batches(rank)) == STEPS * MINI_BATCHES
        assert all(len(updates) > 1 for _, updates in mini_batches(rank)), "more than one micro-batch each"


def test_the_drivers_value_is_in_force_on_both_ranks(trained):
    run, notes = trained
    steps = logged(run)
    expected = [data["actor/control/target"] for data in steps for _ in range(MINI_BATCHES)]
    assert [0.57 + d["actor/control/observed_entropy"] / 1000 for d in steps] == expected[::MINI_BATCHES]
    for rank in notes:
        used = [{note["params"]["target"] for note in updates} for _, updates in mini_batches(rank)]
        assert used == [{value} for value in expected]


def test_what_a_mini_batch_decides_is_of_both_ranks_together(trained):
    _, notes = trained
    for (first, updates), (second, others) in zip(*map(mini_batches, notes), strict=True):
        in_force = {json.dumps(note["params"], sort_keys=True) for note in (*updates, *others)}
        assert len(in_force) == 1
        params = updates[0]["params"]
        start = bapo.Params(target=params["target"])
        together, *alone = (
            params | recording_bapo.decide(sums, start) for sums in (added(first, second), first, second)
        )
        assert params == together
        assert params not in alone


def added(*sums):
    return [sum(column) for column in zip(*sums, strict=True)]


def test_the_counts_are_those_of_both_ranks(trained):
    """verl averages over ranks and mini-batches: one factor for all counts of a step (diagnostics.py)."""
    run, notes = trained
    counted = sum(data["actor/anatomy/tokens"] for data in logged(run)) * RANKS * MINI_BATCHES
    noted = [note["numbers"][0] for rank in notes for _, updates in mini_batches(rank) for note in updates]
    assert counted == sum(noted)

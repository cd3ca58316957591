"""The driver is killed in mid-run; the same command finishes the cell without a lost or doubled step."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import psutil
import pytest
import torch

from cegppo_verl.launch import jobs, processes
from cegppo_verl.losses import schedule
from cegppo_verl.losses.control import Observation
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.records import progress
from cegppo_verl.records.metrics import load_metrics
from cegppo_verl.records.status import DONE, status_of

pytestmark = pytest.mark.pipeline
STEPS = 5
# A loss with state to lose: a feedback controller, and beside it a parameter on a schedule.
ARM = {
    "name": "adaptive",
    "algorithm": "adaptive_beta",
    "params": {"target": 0.9, "gain_p": 1.0, "epsilon_high": {1: 0.2, 4: 0.28}},
}


@pytest.fixture(scope="module")
def killed(runs):
    """A run whose driver got SIGKILL after step 2, then the same command again."""
    grid = runs.grid("killed", [ARM], total_steps=STEPS)
    runner = subprocess.Popen(runs.command(grid, "--retries", "0"), stdout=subprocess.DEVNULL)
    run = runs.run_dir(grid)
    wait_for(lambda: {1, 2} <= progress.trained_steps(run), runner)
    kill_drivers(run)
    first_code = runner.wait(timeout=60)
    left = processes.marked(jobs.mark(run.attempts()[0]))
    between = status_of(run, run.cell())
    second = runs.run(grid)
    return first_code, left, between, second, run


def wait_for(condition, runner, patience=300):
    deadline = time.monotonic() + patience
    while not condition():
        assert runner.poll() is None, "the runner ended early"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill_drivers(run) -> None:
    """SIGKILL to the driver's stand-in: the warm server then does the same to the driver, its fork."""
    mark = f"{processes.MARK}={jobs.mark(run.attempts()[0])}"
    for process in psutil.process_iter():
        if is_driver(process, mark):
            os.kill(process.pid, signal.SIGKILL)


def is_driver(process: psutil.Process, mark: str) -> bool:
    """The stand-in client that the runner started, recognised by its mark and the module it was asked for."""
    try:
        line = process.cmdline()
        return "cegppo_verl.verl_plugin.train" in line and mark in marks(process)
    except psutil.Error:
        return False


def marks(process: psutil.Process) -> list[str]:
    return [f"{k}={v}" for k, v in process.environ().items()]


def test_the_first_runner_reports_the_death_and_leaves_no_process(killed):
    first_code, left, between, _, run = killed
    assert first_code == 1
    assert left == []
    assert between.state == "failed"
    assert "killed by signal 9" in between.why
    assert run.attempts()[0].record()["outcome"] == "failed"


def test_the_second_run_resumes_and_finishes(killed, log_of):
    _, _, between, second, run = killed
    assert second.returncode == 0, second.stderr + log_of(run)
    assert status_of(run, run.cell()).state == DONE
    resumed = run.attempts()[1].record()["resumed_from"]
    assert 1 <= resumed <= between.step


def test_every_step_is_there_once_after_stitching(killed):
    *_, run = killed
    metrics = load_metrics(run.path)
    frame = metrics.frame[metrics.frame["key"] == "actor/entropy"]
    assert sorted(frame["step"]) == list(range(1, STEPS + 1))


def test_the_optimiser_went_on_counting(killed):
    """Two updates per step, so Adam must have seen 2 × STEPS of them: none lost, none done twice."""
    *_, run = killed
    path = run.checkpoints / f"global_step_{STEPS}" / "actor" / "optim_world_size_1_rank_0.pt"
    state = torch.load(path, weights_only=False)["state"]
    counts = {int(s["step"]) for s in state.values()}
    assert counts == {2 * STEPS}


def logged(run, key):
    """Values of a metric by step, stitched over the attempts."""
    return dict(zip(*map(list, load_metrics(run.path).series(f"actor/control/{key}")), strict=True))


def test_the_schedule_went_on(killed):
    *_, run = killed
    assert logged(run, "epsilon_high") == {1: 0.2, 2: 0.2, 3: 0.2, 4: 0.28, 5: 0.28}


def test_the_controller_went_on_as_if_nothing_had_happened(killed):
    """Every logged β is what the controller says of all entropies up to then: the kill lost no state."""
    *_, run = killed
    controller = schedule.controller_of(LOSSES["adaptive_beta"], run.cell()["params"])
    state = controller.start()
    entropies, beta1, beta2 = (logged(run, key) for key in ("observed_entropy", "beta1", "beta2"))
    for step in range(1, STEPS + 1):
        state, values = controller.advance(state, Observation(step, STEPS, entropies[step]))
        assert (beta1[step], beta2[step]) == (values["beta1"], values["beta2"])
    assert len(set(beta1.values())) > 1

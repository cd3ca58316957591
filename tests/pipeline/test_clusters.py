"""Real cells on real schedulers: two at once on one Ray cluster, and (nightly) under Slurm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from launch.executors import slurm_cluster
from launch.executors.ray_cluster import two_nodes

from cegppo_verl.launch.attempt import cell_json
from cegppo_verl.launch.cells import run_dir
from cegppo_verl.launch.planning import load
from cegppo_verl.records.metrics import load_metrics
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.status import DONE, status_of

STEPS = 2
ARMS = [  # not the smoke test's: the same cell would be the same run
    {"name": "grpo", "algorithm": "grpo"},
    {"name": "cegppo", "algorithm": "cegppo", "params": {"beta1": 0.25, "beta2": 1.0}},
]


def run_dirs(runs: Any, grid: Path) -> list[RunDir]:
    cells = load(grid, None, None)[1]
    found = [run_dir(cell, runs.results) for cell in cells]
    assert [status_of(r, cell_json(c)).state for r, c in zip(found, cells, strict=True)] == [DONE] * len(
        cells
    )
    return found


def run_with(runs: Any, grid: Path, profile: dict[str, Any], environment: dict[str, str]) -> list[RunDir]:
    """``cegppo run`` through a cluster profile; the finished cells' directories."""
    cluster = runs.folder / f"{grid.stem}-cluster.yaml"
    cluster.write_text(yaml.safe_dump(profile))
    done = runs.run(grid, "--cluster", str(cluster), "--retries", "0", env={**os.environ, **environment})
    logs = [
        p.read_text(errors="replace")[-2000:] for p in runs.results.glob(f"{grid.stem}/*/attempts/*/log.txt")
    ]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *logs])
    return run_dirs(runs, grid)


def check_side_by_side(first: RunDir, second: RunDir) -> None:
    """Both trained at the same time, each on its own samples with its own weights."""
    one, two = (run.attempts()[0].record() for run in (first, second))
    assert one["started"] < two["ended"]
    assert two["started"] < one["ended"]
    for run in (first, second):
        metrics = load_metrics(run.path)
        assert metrics.series("actor/entropy")[0].tolist() == [1, 2]
        # vLLM had this trainer's weights at every step, not the neighbour's: fp32 noise is 1e-7
        assert metrics.series("training/rollout_probs_diff_mean")[1].max() < 1e-5
    # Of their own samples too. Not the score: out of 16, two runs may well solve the same number.
    entropy = [load_metrics(run.path).series("actor/entropy")[1].tolist() for run in (first, second)]
    assert not set(entropy[0]) & set(entropy[1])


@pytest.mark.pipeline
def test_two_runs_on_one_ray_cluster_leave_each_other_alone(runs: Any) -> None:
    grid = runs.grid("side-by-side", ARMS, total_steps=STEPS)
    with two_nodes() as cluster:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.token}
        check_side_by_side(*run_with(runs, grid, {"executor": "ray", "address": cluster.address}, token))


@pytest.mark.nightly
@pytest.mark.skipif(slurm_cluster.missing() is not None, reason=str(slurm_cluster.missing()))
def test_two_runs_under_slurm_on_one_node_leave_each_other_alone(runs: Any) -> None:
    grid = runs.grid("slurm", ARMS, total_steps=STEPS)
    with slurm_cluster.slurm_cluster(nodes=1, memory=20_000) as cluster:
        check_side_by_side(*run_with(runs, grid, {"executor": "slurm"}, cluster.environment))

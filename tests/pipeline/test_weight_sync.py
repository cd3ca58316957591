"""After an update, vLLM samples from the weights that the trainer has."""

from __future__ import annotations

import os

import pytest

from cegppo_verl.records.progress import is_training_step, read_steps

pytestmark = pytest.mark.pipeline

LARGE_STEP = 5e-3  # 25 times the recipe's: after one step the old weights are far away
# Both engines compute in fp32 and add up in another order: differences of single probabilities reach 1e-6.
TOLERANCE = 5e-5
# Stale weights: with this step size probabilities of sampled tokens differ by tenths.
STALE = 1e-2


def differences(run) -> list[float]:
    """Largest difference of a sampled token's probability, rollout engine against trainer, per step."""
    steps = [s for a in run.attempts() for s in read_steps(a.metrics_file) if is_training_step(s)]
    return [s.data["training/rollout_probs_diff_max"] for s in steps]


def test_rollouts_follow_an_update(runs, log_of):
    grid = runs.grid("weight-sync", learning_rate=LARGE_STEP)
    done = runs.run(grid)
    run = runs.run_dir(grid)
    assert done.returncode == 0, done.stderr + log_of(run)
    steps = [s for s in read_steps(run.attempts()[0].metrics_file) if is_training_step(s)]
    moved = abs(steps[1].data["actor/entropy"] - steps[0].data["actor/entropy"])
    assert moved > 0.05, "the update did not move the policy, so the comparison proves nothing"
    assert max(differences(run)) < TOLERANCE


def test_without_the_cure_rollouts_do_not_follow(runs):
    """The same run with vLLM's own packed weights: it dies while loading, or its rollouts are stale."""
    grid = runs.grid("weight-sync-broken", learning_rate=LARGE_STEP)
    done = runs.run(grid, "--retries", "0", env={**os.environ, "CEGPPO_TEST_KEEP_PACKED_WEIGHTS": "1"})
    found = differences(runs.run_dir(grid))
    assert done.returncode == 1 or max(found) > STALE

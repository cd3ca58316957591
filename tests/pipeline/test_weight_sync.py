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
    moved = steps[0].data["actor/ppo_kl"]  # mean log(π_old/π) at the second of the step's two updates
    assert moved > 0.02, "the update did not move the policy, so the comparison proves nothing"
    assert max(differences(run)) < TOLERANCE
    assert steps[1].data["rollout_corr/log_ppl_abs_diff"] < TOLERANCE  # log-probs, mean per sequence


def test_without_the_cure_rollouts_do_not_follow(runs):
    """The same run with vLLM's own packed weights.

    Loading into them kills vLLM's worker, for which verl's sender waits for ever: the runner must call it a
    stall. Should a later vLLM load them after all, the rollouts would be stale.
    """
    # A step size of its own: the same cell in another grid is the same run.
    grid = runs.grid("weight-sync-broken", learning_rate=1.1 * LARGE_STEP)
    done = runs.run(
        grid,
        "--retries",
        "0",
        "--startup-limit",
        "60",
        env={**os.environ, "CEGPPO_TEST_KEEP_PACKED_WEIGHTS": "1"},
    )
    run = runs.run_dir(grid)
    if done.returncode == 1:
        assert "stalled" in run.attempts()[0].record()["cause"]
        assert "weight_loader" in run.attempts()[0].log_file.read_text(errors="replace")
    else:
        assert max(differences(run)) > STALE

from __future__ import annotations

import numpy as np
import pytest

from cegppo_verl.stats.simulate import World


def test_the_stated_truths_are_the_means_of_what_is_drawn() -> None:
    world, rng = World(), np.random.default_rng(0)
    problems = world.problems(rng, 400_000)
    arm = world.arm(rng, problems, 0.3)
    seeds = np.array([0.1, -0.2])
    right = world.right(rng, arm, seeds, 1).mean()
    assert world.truth_of_runs(seeds + 0.3) == pytest.approx(right, abs=0.003)
    one_each = world.right(rng, arm[:4000], world.seeds(rng, 300), 1).mean()
    assert world.truth_of_problems(arm[:4000]) == pytest.approx(one_each, abs=0.005)
    everything = np.mean([world.right(rng, arm[i::100], world.seeds(rng, 1), 1).mean() for i in range(100)])
    assert world.truth(0.3) == pytest.approx(everything, abs=0.01)


def test_two_points_are_two_points() -> None:
    """The table's head says that the seeds' standard deviation is 2 points, and the gap 2.0."""
    world = World()
    assert world.truth(0.15) - world.truth() == pytest.approx(0.0197, abs=0.0002)

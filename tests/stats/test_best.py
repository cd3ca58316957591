from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cegppo_verl.stats import decide, rank
from cegppo_verl.stats.best import leader
from cegppo_verl.stats.simulate import World


def matrix(**beats: float) -> np.ndarray:
    """Three arms; p_ij of "i is no better than j"."""
    p = np.full((3, 3), np.nan)
    for key, value in beats.items():
        i, j = int(key[1]), int(key[2])
        p[i, j], p[j, i] = value, 1 - value
    return p


def test_bold_needs_to_beat_every_other_arm_at_a_third_of_five_per_cent() -> None:
    assert decide(matrix(p01=0.016, p02=0.001, p12=0.5)).best == 0
    close = decide(matrix(p01=0.017, p02=0.001, p12=0.5))
    assert (close.best, close.reason) == (None, "no arm beats every other")


def test_contenders_are_those_that_nobody_beats_at_half_of_five_per_cent() -> None:
    assert decide(matrix(p01=0.03, p02=0.02, p12=0.5)).contenders == (0, 1)
    assert decide(matrix(p01=0.5, p02=0.5, p12=0.5)).contenders == (0, 1, 2)


def test_two_arms_are_the_two_sided_test() -> None:
    p = np.array([[np.nan, 0.0249], [0.9751, np.nan]])
    assert decide(p).best == 0
    assert decide(np.where(np.isnan(p), p, [[0, 0.0251], [0.9749, 0]])).best is None


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@settings(deadline=None)
def test_the_bold_arm_is_the_only_contender_and_never_two(seed: int, count: int) -> None:
    p = np.random.default_rng(seed).random((count, count)) ** 6
    p = np.triu(p, 1) + np.tril(1 - p.T, -1)
    found = decide(p)
    assert found.best is None or found.contenders == (found.best,)


def scores(shift: float, seeds: int = 4, problems: int = 30) -> np.ndarray:
    rng = np.random.default_rng(int(1000 * shift))
    return np.clip(0.3 + shift + 0.05 * rng.standard_normal((seeds, problems)), 0, 1)


def test_a_clear_winner_is_found_by_its_index() -> None:
    found = rank([[scores(0.0)], [scores(0.3)], [scores(0.1)]])
    assert (found.best, found.contenders, found.scope) == (1, (1,), "new seeds and problems")
    assert found.p_beats[1, 0] < 0.01 < 0.99 < found.p_beats[0, 1]


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_give_no_bold_unless_the_checkpoints_are_meant(seeds: int) -> None:
    arms = [[scores(0.0)], [scores(0.3, seeds)]]
    assert rank(arms).best is None
    assert rank(arms).reason.startswith(f"{seeds} seed")
    asked = rank(arms, over="problems")
    assert (asked.best, asked.scope) == (1, "these runs, new problems")


def test_without_intervals_and_without_rivals_nothing_is_bold() -> None:
    assert (
        rank([[scores(0.0, problems=1)], [scores(0.3, problems=1)]]).reason == "a difference has no interval"
    )
    assert rank([[scores(0.0)]]).reason == "one arm"


def test_bold_is_rarely_wrong_among_equals() -> None:
    """400 tables of 4 equal arms; without dividing α by the arms, or by seeds ignored, it is above 5 %."""
    world, rng, wrong, careless = World(), np.random.default_rng(2), 0, 0
    for _ in range(400):
        p = world.problems(rng, 60)
        arms = [[world.right(rng, world.arm(rng, p), world.seeds(rng, 3), 8) / 8] for _ in range(3)]
        wrong += rank(arms).best is not None
        careless += rank(arms, over="problems").best is not None
    assert wrong <= 0.05 * 400
    assert careless > wrong


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_leader_is_who_all_pairs_say(seed: int, holes: bool) -> None:
    rng = np.random.default_rng(seed)
    arms = [[rng.binomial(8, 0.5, (3, size)) / 8 for size in (12, 20)] for _ in range(4)]
    if holes:
        for tables in arms:
            tables[0][:, rng.integers(12)] = np.nan
    p_beats = rank(arms).p_beats
    worst = np.array([np.delete(row, i).max() for i, row in enumerate(p_beats)])
    assert leader(arms) == (worst.argmin(), pytest.approx(worst.min()))


def test_a_tie_has_no_leader_to_speak_of() -> None:
    same = [np.tile([0.0, 1.0, 0.5, 0.25], (3, 1))]
    found = leader([same, same, same])
    assert found is not None
    assert found[1] >= 0.5

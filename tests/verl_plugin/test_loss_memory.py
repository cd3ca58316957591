"""The memory that the project promises for its loss; its time is for `cegppo bench loss` to say."""

import pytest

from cegppo_verl.bench import loss
from cegppo_verl.bench.loss_memory import peak_bytes
from cegppo_verl.bench.loss_sides import SIDES, registry_sides

SHAPE = (64, 16_384)


@pytest.fixture(scope="module")
def peaks():
    return {side: peak_bytes(side, *SHAPE) for side in SIDES}


@pytest.mark.parametrize("side", ["ours", "ours+anatomy"])
def test_at_most_half_of_vanillas_peak_memory(peaks, side):
    if peaks["vanilla"] is None:
        pytest.skip("this system does not report a process's peak memory (no /proc/self/clear_refs)")
    assert peaks[side] <= 0.5 * peaks["vanilla"]
    assert peaks[side] >= 64 * 16_384 * 4  # the gradient alone: the meter does measure


def test_every_registered_loss_can_be_measured():
    """A loss that is added must not break the benchmark; verl's own are measured bare and wrapped."""
    (seconds,) = loss.timed_rounds(["vanilla", *registry_sides()], 2, 16, 1)
    assert {"vanilla", "cegppo", "grpo", "grpo (wrapped)"} <= seconds.keys()
    assert all(second > 0 for second in seconds.values())

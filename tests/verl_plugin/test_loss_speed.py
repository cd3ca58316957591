"""The speed that the project promises for its loss, measured as `cegppo_verl.bench.loss` measures it."""

import pytest

from cegppo_verl.bench.loss import SIDES, bench_loss


@pytest.fixture(scope="module")
def measured():
    return bench_loss(batch=64, length=16_384, repeats=9)


def test_half_of_vanillas_time_with_the_whole_anatomy(measured):
    assert measured["time_ratio"]["vanilla"] == 1.0
    assert measured["time_ratio"]["ours"] <= 0.5


def test_no_more_peak_memory_than_vanilla(measured):
    assert set(measured["peak_bytes"]) == set(SIDES)
    if measured["peak_bytes"]["vanilla"] is None:
        pytest.skip("this system does not report a process's peak memory (no /proc/self/clear_refs)")
    assert measured["peak_ratio"]["ours"] <= 1.0
    assert measured["peak_bytes"]["ours"] >= 64 * 16_384 * 4  # the gradient alone: the meter does measure

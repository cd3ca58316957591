"""The memory that the project promises for its loss; its time is for `cegppo bench loss` to say."""

import pytest

from cegppo_verl.bench.loss import SIDES, bench_loss


@pytest.fixture(scope="module")
def measured():
    return bench_loss(batch=64, length=16_384, repeats=1)


def test_no_more_peak_memory_than_vanilla(measured):
    assert set(measured["peak_bytes"]) == set(SIDES)
    if measured["peak_bytes"]["vanilla"] is None:
        pytest.skip("this system does not report a process's peak memory (no /proc/self/clear_refs)")
    assert measured["peak_ratio"]["ours"] <= 1.0
    assert measured["peak_bytes"]["ours"] >= 64 * 16_384 * 4  # the gradient alone: the meter does measure

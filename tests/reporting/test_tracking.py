"""How near entropy stays to a target, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from cegppo_verl.reporting.tracking import target_of, tracking_error

STEPS = np.arange(1, 5)


def test_tracking_error_by_hand():
    entropy = np.array([9.0, 9.0, 0.6 * np.e, 0.6 / np.e**2])  # the first half does not count
    assert tracking_error(STEPS, entropy, 0.6, 4) == pytest.approx(1.5)
    assert tracking_error(STEPS, np.full(4, 0.6), 0.6, 4) == 0.0


@pytest.mark.parametrize(
    ("steps", "entropy"),
    [(STEPS[:3], [1.0, 1.0, 1.0]), (STEPS, [1.0, 1.0, 0.0, 1.0]), (STEPS, [1.0, 1.0, np.nan, 1.0])],
)
def test_an_unfinished_run_and_an_entropy_without_a_logarithm_have_none(steps, entropy):
    assert tracking_error(steps, np.array(entropy), 0.6, 4) is None


def test_only_an_algorithm_that_holds_entropy_has_a_target():
    def run(algorithm, **params):
        return SimpleNamespace(cell={"algorithm": algorithm, "params": params})

    assert target_of(run("adaptive_beta", target=0.6)) == 0.6
    assert target_of(run("bapo", target=0.4)) is None  # a share of the loss, not an entropy
    assert target_of(run("cegppo", beta1=0.5)) is None

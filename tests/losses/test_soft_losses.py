"""What the contract of weights does not see: the released NLL term, and bounds that do not go together."""

import math

import pytest
import torch

from cegppo_verl.losses import cegppo_released, dispo, topr
from cegppo_verl.losses.parameters import from_values

NAN = float("nan")
RELEASED = from_values(cegppo_released.Params, {"beta1": 0.5, "beta2": 1.0})
BOUNDS = {
    "epsilon_positive_low": 0.2,
    "epsilon_positive_high": 10.0,
    "epsilon_negative_low": 1.0,
    "epsilon_negative_high": 100.0,
}


def test_the_released_nll_term_is_a_mean_over_tokens_of_correct_responses():
    log_prob = torch.tensor([[-1.0, -3.0, NAN], [-50.0, -60.0, -70.0], [-5.0, NAN, NAN]], requires_grad=True)
    advantages = torch.tensor([[0.7, 0.7, NAN], [-0.7, -0.7, -0.7], [0.2, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])

    term = cegppo_released.auxiliary(log_prob, advantages, mask, RELEASED)
    term.backward()

    assert term.item() == pytest.approx(0.1 * (1 + 3 + 5) / 3)
    each = -0.1 / 3
    expected = torch.tensor([[each, each, 0.0], [0.0, 0.0, 0.0], [each, 0.0, 0.0]])
    torch.testing.assert_close(log_prob.grad, expected)


def test_the_released_nll_term_is_zero_without_a_correct_response():
    log_prob = torch.full((2, 3), -2.0, requires_grad=True)
    term = cegppo_released.auxiliary(log_prob, -torch.ones(2, 3), torch.ones(2, 3), RELEASED)
    term.backward()
    assert term.item() == 0.0
    assert log_prob.grad.abs().sum() == 0.0


def test_the_released_nll_term_does_not_sum_in_half_precision():
    log_prob = torch.full((64, 512), -1.0, dtype=torch.bfloat16)
    term = cegppo_released.auxiliary(log_prob, torch.ones(64, 512), torch.ones(64, 512), RELEASED)
    assert math.isclose(term.item(), 0.1, rel_tol=1e-6)


@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_dispo_refuses_bounds_without_an_interval(sign):
    closed = {f"epsilon_{sign}_low": 0.0, f"epsilon_{sign}_high": 0.0}
    with pytest.raises(ValueError, match=f"epsilon_{sign}_low and epsilon_{sign}_high leave no interval"):
        from_values(dispo.Params, BOUNDS | closed)


@pytest.mark.parametrize("missing", BOUNDS)
def test_dispo_requires_all_four_bounds(missing):
    with pytest.raises(ValueError, match=f"{missing} is required"):
        from_values(dispo.Params, {key: value for key, value in BOUNDS.items() if key != missing})


def test_topr_refuses_a_lower_bound_above_the_upper():
    with pytest.raises(ValueError, match="not below"):
        from_values(topr.Params, {"ratio_low": 0.9, "ratio_high": 0.5})

"""CE-GPPO against its contract, and the contract against planted mistakes."""

import pytest
import torch
from losses import loss_contract
from losses.loss_contract import CHECKS, failures
from losses.loss_mutants import BUGS, literal, mutant

from cegppo_verl.losses import weighted
from cegppo_verl.losses.registry import LOSSES


def ours(
    old_log_prob,
    log_prob,
    advantages,
    mask,
    *,
    dp_size=1,
    batch_num_tokens=None,
    global_batch_size=None,
    **hyper,
):
    loss = LOSSES["cegppo"]
    weight = loss.bound(loss.params(**hyper))
    rows = weighted.row_losses(old_log_prob, log_prob, advantages, mask, weight)
    return rows.sum() / (mask.sum() if batch_num_tokens is None else batch_num_tokens) * dp_size


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_cegppo_keeps_the_contract(check):
    check(ours)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_contract_accepts_an_independent_implementation(check):
    check(literal)


@pytest.mark.parametrize("bug", BUGS)
def test_the_contract_catches(bug):
    assert failures(mutant(bug)), f"no check notices the planted mistake '{bug}'"


def test_every_check_catches_something():
    caught = {name for bug in BUGS for name in failures(mutant(bug))}
    assert caught == {check.__name__ for check in CHECKS}


def test_the_batch_visits_every_region():
    log_ratio, advantages, mask = loss_contract.batch()
    ratio = log_ratio.exp()
    for sign in (advantages < 0, advantages > 0):
        for side in (ratio < 0.6, (ratio > 0.9) & (ratio < 1.1), ratio > 1.6):
            assert (sign & side & mask).sum() >= 3


def test_block_size_changes_nothing(monkeypatch):
    log_ratio, advantages, mask = loss_contract.batch()
    whole = loss_contract.run(ours, log_ratio, advantages, mask, **loss_contract.PAPER)
    monkeypatch.setattr(weighted, "BLOCK_TOKENS", 41)  # one row per block, as 41 < 2 × 40
    split = loss_contract.run(ours, log_ratio, advantages, mask, **loss_contract.PAPER)
    assert torch.equal(whole[1], split[1])
    torch.testing.assert_close(whole[0], split[0], rtol=1e-12, atol=0)

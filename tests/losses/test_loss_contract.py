"""Every loss against the contract, and the contract against planted mistakes."""

import json
import math
from pathlib import Path

import pytest
import torch
from losses import rows
from losses.form_mutants import CENTRED, LEAKY, OBJECTS, VERL, object_mutant, verl_mutant
from losses.loss_contract import PAPER, batch, failures, subject
from losses.loss_mutants import BUGS, literal, mutant

from cegppo_verl.contract import exceptions, record, resolve, runner, search, table
from cegppo_verl.losses import weighted
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.reporting.losses import verdicts

INDEX = json.loads((Path(__file__).parents[2] / "reports" / "losses" / verdicts.FILE).read_text())


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_keeps_the_contract(name, monkeypatch):
    monkeypatch.setattr(search, "EXAMPLES", 25)  # `cegppo check-loss` looks longer
    tested = resolve.registered(name, {}, rows.load(name))
    report = runner.check(tested)
    assert report.passed, "\n".join(map(table.explained, report.failures))
    excused = [r for r in report.results if r.name in _known(name)]
    stale = [r.name for r in excused if r.measured is not None and r.measured.passed]
    assert not stale, f"{name} keeps {stale} now: take it out of contract/exceptions.py"
    check_the_index(tested, report)


def check_the_index(tested, report):
    """What reports/losses says of a loss is what its checks say now, with the parameters tried now."""
    kept, now = INDEX["losses"].get(tested.name, {"checks": {}}), record.of(report, tested)
    for entry in (kept, now):
        entry["checks"] = {name: (c["status"], c.get("note")) for name, c in entry["checks"].items()}
    assert kept == now, f"reports/losses/{verdicts.FILE} is out of date: run `{verdicts.COMMAND}`"


def test_the_index_has_the_losses_of_the_registry_and_no_others():
    assert set(INDEX["losses"]) == set(LOSSES)


def _known(name):
    return {**exceptions.VERL.get(LOSSES[name].runs or "", {}), **exceptions.OURS.get(name, {})}


def test_exceptions_name_checks_and_losses_that_exist():
    assert set(exceptions.OURS) <= set(LOSSES)
    assert set(exceptions.VERL) <= {loss.runs for loss in LOSSES.values()}
    named = {
        check for table in (exceptions.OURS, exceptions.VERL) for known in table.values() for check in known
    }
    assert named <= set(runner.CHECKS)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_with_a_formula_has_a_row_with_numbers(name):
    row = rows.load(name)
    assert row.parameters
    if LOSSES[name].weight is not None:
        assert row.literal is not None
        assert row.worked or LOSSES[name].runs


# --- the contract itself


def test_the_contract_accepts_an_independent_implementation():
    assert failures(subject(literal)) == {}


def test_the_contract_accepts_a_function_as_verl_calls_it():
    excused = {
        "padding of NaN and ∞",
        "extremes are finite",
        "log π = −∞",
        "bf16",
    }  # plain autograd, unclamped
    assert set(failures(verl_mutant(None))) <= excused


def test_the_contract_accepts_statistics_that_add_up():
    assert (
        failures(resolve.from_object(CENTRED, "centred", {}), ("micro-batches", "data-parallel ranks")) == {}
    )


@pytest.mark.parametrize("bug", BUGS)
def test_the_contract_catches(bug):
    assert failures(subject(mutant(bug)), (BUGS[bug],)), f"'{BUGS[bug]}' does not notice '{bug}'"


@pytest.mark.parametrize("bug", OBJECTS)
def test_the_contract_catches_in_a_loss_object(bug):
    name = OBJECTS[bug][2]
    assert failures(object_mutant(bug), (name,)), f"'{name}' does not notice '{bug}'"


@pytest.mark.parametrize("bug", VERL)
def test_the_contract_catches_in_a_function_of_verls_form(bug):
    assert failures(verl_mutant(bug), (VERL[bug],)), f"'{VERL[bug]}' does not notice '{bug}'"


def test_a_nan_in_the_second_of_two_gradients_is_seen():
    assert failures(LEAKY, ("no other gradient",))


def test_a_nan_with_small_advantages_alone_is_seen():
    calls = iter(range(10**6))  # the check calls the loss with Â, 4·Â and Â/4

    def nan_every_third(*tensors, **values):
        return literal(*tensors, **values) * (torch.nan if next(calls) % 3 == 2 else 1.0)

    assert failures(subject(nan_every_third), ("linear in Â",))


def test_every_check_catches_something():
    caught = {*BUGS.values(), *VERL.values(), *(name for _, _, name in OBJECTS.values())}
    assert caught == set(runner.CHECKS)


def test_a_failure_shows_the_smallest_input():
    shown = failures(subject(mutant("sign_flipped")), ("gradient as printed",))["gradient as printed"]
    assert "log_ratio    = [[0.0]]" in shown
    assert "advantages   = [[1.0]]" in shown
    assert "'beta1': 0.5" in shown


# --- the ground the checks stand on


def test_the_batch_visits_every_region():
    log_ratio, advantages, mask = batch()
    ratio = log_ratio.exp()
    for sign in (advantages < 0, advantages > 0):
        for side in (ratio < 0.6, (ratio > 0.9) & (ratio < 1.1), ratio > 1.6):
            assert (sign & side & mask).sum() >= 3


def test_the_edges_are_exact():
    assert [math.exp(edge) for edge in _edges()] == [0.5, 1.5, 2.0, 4.0]


def _edges():
    from cegppo_verl.contract.checks_mask import EDGES

    return EDGES


def test_block_size_changes_nothing(monkeypatch):
    tested = resolve.registered("cegppo", dict(PAPER))
    from cegppo_verl.contract.batch import random

    whole = tested.run(random(), tested.settings[0])
    monkeypatch.setattr(weighted, "BLOCK_TOKENS", 41)  # one row per block, as 41 < 2 × 40
    split = tested.run(random(), tested.settings[0])
    assert torch.equal(whole.gradient, split.gradient)
    torch.testing.assert_close(whole.loss, split.loss, rtol=1e-12, atol=0)

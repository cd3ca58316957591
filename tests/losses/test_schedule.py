"""Parameters as schedules over the global step."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegppo_verl.losses import schedule
from cegppo_verl.losses.control import Observation
from cegppo_verl.losses.parameters import from_values, specs
from cegppo_verl.losses.registry import LOSSES

CEGPPO = LOSSES["cegppo"]
FIG6 = {"beta1": {"1": 0.0, "585": 0.5}, "beta2": 1.0}  # arXiv 2509.20712, Fig. 6, as a cell's JSON has it


def values(controller, step, entropy=None):
    return dict(controller.advance(controller.start(), Observation(step, 1000, entropy))[1])


def test_fig6_switches_at_its_step_and_needs_no_state():
    controller = schedule.controller_of(CEGPPO, FIG6)
    assert [values(controller, step)["beta1"] for step in (1, 584, 585, 586, 1000)] == [0, 0, 0.5, 0.5, 0.5]
    assert set(values(controller, 1)) == {"beta1"}
    assert controller.start() == {}
    assert not controller.observes_entropy


@given(st.dictionaries(st.integers(2, 50), st.floats(0, 1)), st.floats(0, 1), st.integers(1, 60))
def test_each_value_holds_from_its_step_on(later, first, step):
    table = {1: first, **later}
    expected = table[max(key for key in table if key <= step)]
    shuffled = json.loads(json.dumps({str(key): table[key] for key in sorted(table, key=str)}))
    for given_table in (table, shuffled):
        controller = schedule.controller_of(CEGPPO, {"beta1": given_table, "beta2": 1.0})
        assert values(controller, step) == {"beta1": expected}


def test_constant_parameters_need_no_controller():
    assert schedule.controller_of(CEGPPO, {"beta1": 0.5, "beta2": 1.0}) is None


def test_starting_values_are_those_of_step_1():
    assert schedule.starting_values(FIG6) == {"beta1": 0.0, "beta2": 1.0}
    assert schedule.starting_values({"beta1": {0: 0.2, 1: 0.3}, "dual_clip": None}) == {
        "beta1": 0.3,
        "dual_clip": None,
    }


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "without a value for step 1"),
        ({2: 0.5}, "without a value for step 1"),
        ({1: 0.0, -5: 0.5}, "step '-5' is not a whole number"),
        ({1: 0.0, "soon": 0.5}, "step 'soon' is not a whole number"),
        ({1: 0.0, 1.5: 0.5}, "step '1.5' is not a whole number"),
        ({1: 0.0, "1": 0.5}, "two values for step 1"),
        ({1: 0.0, 585: 11.0}, "must be a number in [0, 10], got 11.0 (at step 585)"),
        ({1: 0.0, 585: "half"}, "got 'half' (at step 585)"),
        ({1: None}, "must be a number, got None"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said(table, said):
    assert said in schedule.check_schedule(specs(CEGPPO.params)["beta1"], table)
    with pytest.raises(ValueError, match=r".+"):
        schedule.controller_of(CEGPPO, {"beta1": table, "beta2": 1.0})


def test_steps_0_and_1_are_both_starts():
    spec = specs(CEGPPO.params)["beta1"]
    assert schedule.check_schedule(spec, {"0": 0.1, "7": 0.2}) == ""
    assert schedule.check_schedule(spec, {1: 0.1}) == ""


def test_a_word_cannot_follow_a_schedule():
    words = [
        (loss, name) for loss in LOSSES.values() for name, spec in specs(loss.params).items() if spec.choices
    ]
    for loss, name in words:
        assert "a word" in schedule.check_schedule(specs(loss.params)[name], {1: 0.5})
        assert name not in schedule.schedulable(loss)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.runs is None])
def test_every_number_of_every_loss_of_ours_can_follow_a_schedule(name):
    loss = LOSSES[name]
    given_values = {key: example(spec) for key, spec in specs(loss.params).items()}
    own = schedule.controller_of(loss, given_values)
    set_by_it = set() if own is None else set(values(own, 1))
    for key in schedule.schedulable(loss):
        if given_values[key] is None or key in set_by_it:
            continue
        controller = schedule.controller_of(loss, {**given_values, key: {"1": given_values[key]}})
        assert values(controller, 3)[key] == given_values[key]


def example(spec):
    if not spec.required:
        return spec.default
    return spec.example if spec.example is not None else next(v for v in (0.2, 2.0) if not spec.problem(v))


# --- together with a loss's own controller ------------------------------------------------------------------

ADAPTIVE = LOSSES["adaptive_beta"]


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_a_schedule_on_what_the_controller_sets_is_a_clash(name):
    with pytest.raises(ValueError, match=f"{name} has a schedule"):
        schedule.controller_of(ADAPTIVE, {"target": 0.3, name: {1: 0.5}})


def test_the_controller_follows_a_scheduled_target():
    """A schedule that only reached the weight's parameters would leave the controller at the first target."""
    controller = schedule.controller_of(ADAPTIVE, {"target": {"1": 0.3, "10": 0.1}})
    state, seen = controller.start(), {}
    for step in range(1, 20):
        state, seen[step] = controller.advance(state, Observation(step, 20, 0.2))
    assert seen[9]["beta1"] < 0.5 < seen[10]["beta1"]
    assert (seen[9]["target"], seen[10]["target"]) == (0.3, 0.1)
    assert controller.observes_entropy
    assert set(state) == set(schedule.controller_of(ADAPTIVE, {"target": 0.3}).start())


def test_a_constant_target_gives_the_loss_s_own_controller():
    plain = schedule.controller_of(ADAPTIVE, {"target": 0.3})
    scheduled = schedule.controller_of(ADAPTIVE, {"target": {1: 0.3}})
    a, b = plain.start(), scheduled.start()
    for step in range(1, 9):
        a, values_a = plain.advance(a, Observation(step, 9, 0.1 * step))
        b, values_b = scheduled.advance(b, Observation(step, 9, 0.1 * step))
        assert a == b
        assert values_b == {**values_a, "target": 0.3}


def test_parameters_that_stop_going_together_later_are_found_at_once():
    with pytest.raises(ValueError, match=r"from step 50 on: band 0\.2 must be below the target 0\.1"):
        schedule.controller_of(ADAPTIVE, {"target": {1: 0.3, 50: 0.1}, "band": 0.2})


def test_a_missing_parameter_is_named():
    with pytest.raises(ValueError, match="beta2 is required"):
        schedule.controller_of(CEGPPO, {"beta1": {1: 0.0}})
    assert from_values(CEGPPO.params, schedule.starting_values(FIG6)).beta1 == 0.0

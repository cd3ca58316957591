"""Feedback controllers of the losses: bounds, direction, anti-windup, convergence on a plant, resume."""

import json
import math
from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cegppo_verl.losses import adaptive_beta, adaptive_clip, adaptive_entropy
from cegppo_verl.losses.control import Observation
from cegppo_verl.losses.parameters import from_values
from cegppo_verl.losses.registry import LOSSES

NAMES = ("adaptive_beta", "adaptive_entropy", "adaptive_clip")
ANY_ENTROPY = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(0.0, 3.0))
ENTROPY = st.floats(1e-6, 12.0)


def run(controller, entropies, state=None):
    """(state, values) after each step."""
    state = controller.start() if state is None else state
    trace = []
    for step, entropy in enumerate(entropies, 1):
        state, values = controller.advance(state, Observation(step, 1000, entropy))
        trace.append((state, dict(values)))
    return trace


def pi(**given):
    return adaptive_beta.Controller(adaptive_beta.Params(**{"target": 0.3, **given}))


def controller(name):
    params = from_values(LOSSES[name].params, {"target": 0.3} if name == "adaptive_beta" else {})
    return LOSSES[name].controller(params)


def ranges():
    """Lower bound, centre and upper bound within [0, 1]."""
    return st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted).map(tuple)


BOUNDS = ranges()


def bounded(first, second, **given):
    names = [f"{beta}{end}" for beta in ("beta1", "beta2") for end in ("_min", "", "_max")]
    return pi(**dict(zip(names, (*first, *second), strict=True)), **given)


# --- all three -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(entropies=st.lists(ANY_ENTROPY, max_size=30))
def test_whatever_the_entropies_params_accept_the_values(name, entropies):
    steered = controller(name)
    for state, values in run(steered, entropies):
        replaced = replace(steered.params, **values)  # a value out of its range is a ValueError
        assert set(values) <= {field.name for field in fields(replaced)}
        assert all(math.isfinite(number) for number in state.values())


@pytest.mark.parametrize("name", NAMES)
@given(entropies=st.lists(ANY_ENTROPY, min_size=2, max_size=30), cut=st.integers(1, 29))
def test_resumed_from_json_it_goes_on_bit_for_bit(name, entropies, cut):
    steered = controller(name)
    whole = run(steered, entropies)
    kept = json.loads(json.dumps(run(steered, entropies[:cut])[-1][0]))
    assert run(steered, entropies[cut:], kept) == whole[len(entropies[:cut]) :]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unusable", [None, math.nan, math.inf, -0.1])
def test_without_a_measurement_everything_is_held_and_the_state_says_so(name, unusable):
    (before, values), (after, held), (again, _) = run(controller(name), [0.05, unusable, 0.05])
    assert held == values
    assert after == {**before, "held": 1.0}
    assert before["held"] == again["held"] == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_advance_leaves_the_state_it_was_given(name):
    state = controller(name).start()
    before = dict(state)
    run(controller(name), [0.05, None], state)
    assert state == before


# --- adaptive β ------------------------------------------------------------------------------------------


@given(first=BOUNDS, second=BOUNDS, entropies=st.lists(ANY_ENTROPY, max_size=30))
def test_betas_stay_within_their_bounds_and_the_integral_within_one(first, second, entropies):
    assume(first[0] < first[2])
    for state, values in run(bounded(first, second, gain_i=0.7), entropies):
        assert first[0] <= values["beta1"] <= first[2]
        assert second[0] <= values["beta2"] <= second[2]
        assert abs(state["integral"]) <= 1.0


@given(u=st.floats(-1, 1), bounds=st.floats(0, 10))
@example(u=0.35, bounds=10.0)
def test_a_beta_without_room_never_leaves_it_by_a_rounding_error(u, bounds):
    """(1 − u)·c + u·c may be c plus one unit in the last place, which Params would refuse."""
    steered = bounded((0.0, 0.5, 1.0), (bounds, bounds, bounds))
    assert adaptive_beta.betas(u, steered.params)["beta2"] == bounds


@given(first=BOUNDS, second=BOUNDS)
def test_the_ends_and_the_centre_are_exact(first, second):
    assume(first[0] < first[2])
    params = bounded(first, second).params
    assert adaptive_beta.betas(1.0, params) == {"beta1": first[0], "beta2": second[2]}
    assert adaptive_beta.betas(0.0, params) == {"beta1": first[1], "beta2": second[1]}
    assert adaptive_beta.betas(-1.0, params) == {"beta1": first[2], "beta2": second[0]}


@given(history=st.lists(ENTROPY, max_size=10), low=ENTROPY, high=ENTROPY, band=st.floats(0, 0.29))
def test_the_lower_the_entropy_the_lower_beta1_and_the_higher_beta2(history, low, high, band):
    low, high = sorted((low, high))
    steered = pi(band=band)
    (_, at_low), (_, at_high) = (run(steered, [*history, entropy])[-1] for entropy in (low, high))
    assert at_low["beta1"] <= at_high["beta1"]
    assert at_low["beta2"] >= at_high["beta2"]


def test_the_direction_is_the_papers():
    centre = {"beta1": 0.5, "beta2": 0.5}
    for entropy, sign in ((0.28, 1), (0.32, -1)):
        ((_, values),) = run(pi(), [entropy])
        assert (centre["beta1"] - values["beta1"]) * sign > 0.05
        assert (values["beta2"] - centre["beta2"]) * sign > 0.05


def test_the_law_by_hand():
    """H* = .3, k_p = 4, k_i = .04. H = .3/e^.1: e = .1, u = .4 + .004; then e = .2: u = .8 + .012."""
    (first, values), (second, _) = run(pi(), [0.3 * math.exp(-0.1), 0.3 * math.exp(-0.2)])
    assert first["u"] == pytest.approx(0.404)
    assert second["u"] == pytest.approx(0.812)
    assert values == pytest.approx({"beta1": 0.5 - 0.5 * 0.404, "beta2": 0.5 + 0.5 * 0.404})


@given(st.lists(st.floats(0.2, 0.4), min_size=1, max_size=30))
def test_within_the_band_nothing_moves(entropies):
    for _, values in run(pi(band=0.1), entropies):
        assert values == {"beta1": 0.5, "beta2": 0.5}


@given(st.lists(ENTROPY, max_size=10), st.lists(st.floats(0.2, 0.4), min_size=2, max_size=10))
def test_back_in_the_band_the_integral_alone_remains(outside, inside):
    steered = pi(band=0.1)
    integral = run(steered, [*outside, inside[0]])[-1][0]["integral"]
    for state, _ in run(steered, [*outside, *inside])[len(outside) :]:
        assert state["u"] == state["integral"] == integral


def test_the_error_is_continuous_at_the_edge_of_the_band():
    inside, outside = adaptive_beta.error(0.2, 0.3, 0.1), adaptive_beta.error(0.2 * (1 - 1e-9), 0.3, 0.1)
    assert inside == 0.0
    assert 0 < outside < 1e-8


def recovery_bound(params, error):
    """Steps until u ≤ 0 after the error has turned to −``error``; see adaptive_beta's text."""
    left = (1.0 - params.gain_p * error) / (params.gain_i * error)
    return max(1, math.ceil(left - 1e-9))


def steps_to_recover(steered, saturated_for, error):
    params = steered.params
    stuck = run(steered, [params.target / 4] * saturated_for)[-1][0]
    assert stuck["u"] == 1.0
    after = run(steered, [params.target * math.exp(error)] * 2000, stuck)
    return next(i for i, (state, _) in enumerate(after, 1) if state["u"] <= 1e-12), after[0][0]["u"]


@settings(max_examples=40, deadline=None)
@given(saturated_for=st.integers(1, 500), error=st.floats(0.05, 0.5), gain_i=st.floats(0.02, 0.5))
def test_after_saturation_control_comes_back_within_the_stated_bound(saturated_for, error, gain_i):
    steered = pi(gain_i=gain_i)
    steps, first = steps_to_recover(steered, saturated_for, error)
    assert steps <= recovery_bound(steered.params, error)
    assert first < 1.0


def test_without_anti_windup_the_bound_is_missed(monkeypatch):
    """The planted mutant: the test above can fail."""
    monkeypatch.setattr(adaptive_beta, "_winds_up", lambda wanted, error: False)
    steered = pi(gain_i=0.1)
    steps, first = steps_to_recover(steered, 100, 0.1)
    assert first == 1.0
    assert steps > 20 * recovery_bound(steered.params, 0.1)


# --- adaptive β on the plant log H(t+1) = log H(t) − d + g u ----------------------------------


def on_plant(steered, *, drift, authority, steps, start=1.0, noise=lambda step: 0.0):
    """[(state, H)] over the steps: H is what the step's control was decided on."""
    state, log_entropy, trace = steered.start(), math.log(start), []
    for step in range(1, steps + 1):
        entropy = math.exp(log_entropy)
        state, _ = steered.advance(state, Observation(step, steps, entropy))
        trace.append((state, entropy))
        log_entropy = max(-50.0, min(50.0, log_entropy - drift + authority * state["u"] + noise(step)))
    return trace


def spectral_radius(params, authority):
    """Of the closed loop: the roots of z² − (2 − g (k_p + k_i)) z + (1 − g k_p)."""
    half = 1.0 - authority * (params.gain_p + params.gain_i) / 2
    root = complex(half * half - (1.0 - authority * params.gain_p)) ** 0.5
    return max(abs(half + root), abs(half - root))


@settings(max_examples=50, deadline=None)
@given(
    authority=st.floats(0.002, 0.4),
    gain_p=st.floats(0.5, 8.0),
    ratio=st.floats(0.005, 0.3),
    share=st.floats(-0.9, 0.9),
    start=st.floats(0.05, 3.0),
)
def test_in_the_stable_region_entropy_converges_to_the_target(authority, gain_p, ratio, share, start):
    gain_i = gain_p * ratio
    assume(authority * (2 * gain_p + gain_i) < 3.6)
    steered = pi(gain_p=gain_p, gain_i=gain_i)
    radius = spectral_radius(steered.params, authority)
    assume(radius < 0.99)
    reach = abs(math.log(start / 0.3)) / (authority * (1 - abs(share)))  # at a limit of u, against the drift
    steps = 100 + math.ceil(2 * reach + 40 / -math.log(radius))
    trace = on_plant(steered, drift=share * authority, authority=authority, steps=steps, start=start)
    assert trace[-1][1] == pytest.approx(0.3, rel=1e-6)
    assert trace[-1][0]["u"] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(("factor", "stable"), [(0.98, True), (1.02, False)])
def test_the_stated_limit_of_the_gains_is_where_stability_ends(factor, stable):
    steered = pi()
    authority = factor * 4 / (2 * steered.params.gain_p + steered.params.gain_i)
    assert (spectral_radius(steered.params, authority) < 1) == stable
    trace = on_plant(steered, drift=0.0, authority=authority, steps=3000, start=0.3001)
    assert (abs(math.log(trace[-1][1] / 0.3)) < 1e-6) == stable


def test_the_default_gains_have_the_properties_that_their_text_states():
    params = pi().params
    assert 4 / (2 * params.gain_p + params.gain_i) == pytest.approx(0.4975, abs=5e-4)
    critical = 4 * params.gain_i / (params.gain_p + params.gain_i) ** 2
    assert critical == pytest.approx(0.0098, abs=5e-5)
    limit = 1 / (params.gain_p + params.gain_i)
    assert 1 - math.exp(-limit) == pytest.approx(0.22, abs=5e-3)
    assert math.exp(limit) - 1 == pytest.approx(0.28, abs=5e-3)


def test_drift_beyond_the_authority_saturates_without_winding_up():
    trace = on_plant(pi(), drift=0.03, authority=0.02, steps=300)
    last, entropy = trace[-1]
    assert last["u"] == 1.0
    assert last["saturated"] > 100
    assert last["lost"] > 1.0
    assert abs(last["integral"]) <= 1.0
    assert entropy < 0.05
    stuck = [state["integral"] for state, _ in trace if state["saturated"] and state["error"] > 0]
    assert len(set(stuck)) == 1


def test_a_flipped_sign_diverges_and_is_reported():
    trace = on_plant(pi(), drift=0.0, authority=-0.02, steps=300, start=0.29)
    last, entropy = trace[-1]
    assert entropy < 0.03
    assert last["saturated"] > 100
    assert last["lost"] > 1.0


def test_a_controlled_loop_is_not_reported_as_diverging():
    trace = on_plant(pi(), drift=0.01, authority=0.02, steps=300, start=1.3)
    assert all(state["lost"] <= 0 for state, _ in trace)
    assert trace[-1][0]["saturated"] == 0
    assert trace[4][0]["saturated"] == 5


def test_a_beta_that_cannot_move_is_refused():
    still = {"beta1_min": 0.5, "beta1_max": 0.5, "beta2_min": 0.5, "beta2_max": 0.5}
    with pytest.raises(ValueError, match="cannot move"):
        pi(**still)
    assert pi(**{**still, "beta2_max": 1.0})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"band": 0.3}, "below the target"),
        ({"beta1_min": 0.6}, r"beta1 = 0.5 must lie within \[beta1_min"),
        ({"beta2_max": 0.4}, "beta2 = 0.5"),
        ({"target": 0.0}, "target must be a number in"),
        ({"gain_p": 0.0}, "gain_p"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        pi(**wrong)


def test_the_target_has_no_default():
    with pytest.raises(ValueError, match="target is required"):
        from_values(adaptive_beta.Params, {})


# --- adaptive entropy coefficient, adaptive upper clip -------------------------------------------


def test_the_coefficient_by_hand():
    """Skywork-OR1: Δ = 1e-4, at most 5e-3; the bonus only while H < H* = .2, the coefficient remembered."""
    entropies = [0.1, 0.1, 0.3, 0.1, 0.2]
    trace = run(controller("adaptive_entropy"), entropies)
    assert [state["coeff"] for state, _ in trace] == pytest.approx([1e-4, 2e-4, 1e-4, 2e-4, 1e-4])
    assert [values["entropy_coeff"] for _, values in trace] == pytest.approx([1e-4, 2e-4, 0, 2e-4, 0])


@given(st.lists(ENTROPY, max_size=100))
def test_the_coefficient_stays_between_zero_and_its_maximum(entropies):
    for (_, before), (_, after) in pairwise(run(controller("adaptive_entropy"), entropies)):
        assert 0 <= after["entropy_coeff"] <= 5e-3
        assert after["entropy_coeff"] == 0 or after["entropy_coeff"] <= before["entropy_coeff"] + 5e-3
    assert run(controller("adaptive_entropy"), [0.1] * 60)[-1][1] == {"entropy_coeff": 5e-3}
    assert run(controller("adaptive_entropy"), [0.3] * 3)[-1][0]["coeff"] == 0


def test_a_start_above_the_maximum_is_refused():
    with pytest.raises(ValueError, match="must not exceed"):
        adaptive_entropy.Params(entropy_coeff=0.1)


def test_the_upper_clip_by_hand():
    """MAI-Thinking-1: k moves by .25 towards the target's side, within [0, 2.5], and not at the target."""
    trace = run(controller("adaptive_clip"), [0.4, 0.2, 0.2, 0.3, 0.4, *[0.1] * 20])
    assert [values["k"] for _, values in trace[:5]] == [0, 0.25, 0.5, 0.5, 0.25]
    assert trace[-1][1] == {"k": 2.5}
    assert adaptive_clip.Params(k=0.5).epsilon_high == pytest.approx(2.0)


@pytest.mark.parametrize("wrong", [{"k": 3.0}, {"ratio_max": 4.9}, {"ratio_min": 0.4}])
def test_an_outer_clip_that_cuts_into_the_interval_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        adaptive_clip.Params(**wrong)

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.checkpoints import Policy, choose, choose_for_arms, require_equal_steps


def run(scores: dict[str, dict[int, list[int]]], n: int = 4) -> pd.DataFrame:
    """Correct samples of ``n`` by benchmark, step and problem."""
    rows = [
        {"step": step, "benchmark": name, "problem": f"{name}/{p}", "n": n, "c": c}
        for name, steps in scores.items()
        for step, counts in steps.items()
        for p, c in enumerate(counts)
    ]
    return pd.DataFrame(rows)


RUN = {
    "aime": {2: [1, 1], 4: [4, 4], 6: [2, 2]},
    "math": {2: [4, 3], 4: [2, 2], 6: [3, 3]},
}


@pytest.mark.parametrize(
    ("policy", "steps", "optimistic"),
    [
        ("last", {"aime": 6, "math": 6}, set()),
        ("step:2", {"aime": 2, "math": 2}, set()),
        ("dev:aime", {"aime": 4, "math": 4}, {"aime"}),
        ("best", {"aime": 4, "math": 2}, {"aime", "math"}),
    ],
)
def test_the_policies(policy: str, steps: dict[str, int], optimistic: set[str]) -> None:
    found = choose(run(RUN), Policy.parse(policy))
    assert {name: choice.step for name, choice in found.items()} == steps
    assert {name for name, choice in found.items() if choice.optimistic} == optimistic
    assert all((choice.bias != 0) <= choice.optimistic for choice in found.values())
    assert all(choice.last == 6 for choice in found.values())
    for name, choice in found.items():
        assert choice.accuracy == np.mean(RUN[name][choice.step]) / 4


def test_the_bias_of_equal_checkpoints_is_reported_and_reproducible() -> None:
    rng = np.random.default_rng(3)
    table = run({"aime": {step: list(rng.binomial(8, 0.5, 30)) for step in range(20)}}, n=8)
    first, again = (choose(table, Policy("best"))["aime"] for _ in range(2))
    assert first == again
    assert 0.02 < first.bias < 0.08  # the largest of 20 means with a standard error of 0.032: 1.87 of them
    assert first.among == 20


def test_a_tie_goes_to_the_earlier_step() -> None:
    table = run({"aime": {2: [1], 4: [3], 6: [3]}})
    assert choose(table, Policy("best"))["aime"].step == 4


def test_an_evaluation_cut_short_cannot_be_chosen() -> None:
    table = run({"aime": {2: [2, 2], 4: [4], 6: [4]}})
    for policy in ("last", "best"):
        assert choose(table, Policy.parse(policy))["aime"].step == 2
    with pytest.raises(UserError, match=r"no complete evaluation of aime at step 6\n.*steps 2"):
        choose(table, Policy("step", step=6))


def test_one_checkpoint_is_not_optimistic() -> None:
    assert not choose(run({"aime": {2: [2]}}), Policy("best"))["aime"].optimistic


def test_unequal_lengths_are_named_unless_allowed() -> None:
    arms = {"grpo": [run(RUN), run(RUN)], "cegppo": [run({"aime": {2: [1, 1], 8: [4, 4]}})]}
    for policy in ("last", "best", "dev:aime"):
        with pytest.raises(UserError, match="grpo: 6; cegppo: 8"):
            choose_for_arms(arms, Policy.parse(policy))
    assert choose_for_arms(arms, Policy("last"), allow_unequal=True)["cegppo"][0]["aime"].step == 8
    assert choose_for_arms(arms, Policy("step", step=2))["cegppo"][0]["aime"].step == 2


def test_seeds_of_one_arm_are_compared_too() -> None:
    require_equal_steps({"grpo": {6}, "cegppo": {6}})
    with pytest.raises(UserError, match="grpo: 4, 6"):
        require_equal_steps({"grpo": {6, 4}})


@pytest.mark.parametrize(
    "text", ["", "first", "step", "step:x", "step:-1", "dev", "dev:", "last:3", "best:aime"]
)
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(UserError):
        Policy.parse(text)


def test_policies_are_written_as_they_are_read() -> None:
    for text in ("last", "step:40", "dev:aime", "best"):
        assert str(Policy.parse(text)) == text


def test_an_unknown_development_set_is_an_error() -> None:
    with pytest.raises(UserError, match="did you mean 'aime'"):
        choose(run(RUN), Policy("dev", dev="aine"))

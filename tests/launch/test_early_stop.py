"""Rules that end a run: consecutive steps, the first steps left out, numbers that are none."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cegppo_verl.launch.early_stop import EarlyStop, describe
from cegppo_verl.records.progress import LoggedStep, parse_line


def steps(
    rule: dict[str, Any], values: list[float | None], metric: str = "actor/entropy"
) -> list[str | None]:
    """What the rule says after each step, from step 1 on."""
    watcher = EarlyStop([rule])
    said = []
    for number, value in enumerate(values, start=1):
        data = {"training/global_step": float(number)} | ({} if value is None else {metric: value})
        said.append(watcher.see(LoggedStep(number, data)))
    return said


BELOW = {"metric": "actor/entropy", "below": 0.1}


def test_a_value_on_the_limit_is_not_beyond_it() -> None:
    assert steps(BELOW, [0.1]) == [None]
    assert steps({"metric": "actor/entropy", "above": 2.0}, [2.0]) == [None]


def test_the_reason_names_step_rule_and_value() -> None:
    assert steps(BELOW, [0.05]) == ["early stop at step 1: actor/entropy below 0.1 (it was 0.05)"]


def test_the_steps_must_be_consecutive() -> None:
    said = steps({**BELOW, "for_steps": 2}, [0.05, 0.5, 0.05, 0.04])
    assert said[:3] == [None, None, None]
    assert said[3] == "early stop at step 4: actor/entropy below 0.1 for 2 steps (it was 0.04)"


def test_a_step_without_the_metric_breaks_the_row() -> None:
    assert steps({**BELOW, "for_steps": 2}, [0.05, None, 0.05]) == [None, None, None]


def test_the_first_steps_may_be_left_out() -> None:
    said = steps({**BELOW, "after_step": 2}, [0.05, 0.05, 0.05])
    assert [text is None for text in said] == [True, True, False]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none(value: float) -> None:
    assert steps({"metric": "actor/entropy", "not_finite": True}, [1.0, value])[1] is not None


def test_verl_writes_null_for_what_is_no_number() -> None:
    line = parse_line(b'{"step": 3, "data": {"training/global_step": 3, "actor/entropy": null}}')
    assert line is not None
    said = EarlyStop([{"metric": "actor/entropy", "not_finite": True}]).see(line)
    assert said == "early stop at step 3: actor/entropy not finite (it was nan)"
    assert EarlyStop([BELOW, {**BELOW, "below": None, "above": 1.0}]).see(line) is None


def test_a_comparison_never_holds_for_nan() -> None:
    assert steps(BELOW, [math.nan]) == [None]


def test_validation_lines_do_not_count() -> None:
    watcher = EarlyStop([BELOW])
    assert watcher.see(LoggedStep(0, {"actor/entropy": 0.0})) is None


def test_the_first_rule_that_holds_is_named() -> None:
    watcher = EarlyStop([{"metric": "a", "above": 1.0}, BELOW])
    said = watcher.see(LoggedStep(1, {"training/global_step": 1, "a": 2.0, "actor/entropy": 0.0}))
    assert said is not None
    assert "a above 1" in said


def test_description() -> None:
    assert describe({"metric": "x", "not_finite": True, "for_steps": 3}) == "x not finite for 3 steps"

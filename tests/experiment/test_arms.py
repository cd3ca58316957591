"""Generators write out the arms that a person would have written one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment.gridfile import cells, load

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.arms import MAX_ARMS
from cegppo_verl.experiment.generators import Generator, size, text


def names(folder: Path, body: str) -> list[str]:
    return [arm.name for arm in load(folder, body).arms]


def test_product_is_every_combination_the_last_factor_fastest(tmp_path: Path) -> None:
    body = """arms:
- {name: "b-{beta1}-{beta2}", algorithm: cegppo, product: {beta1: [0, 0.5], beta2: [0, 1, 2]}}
"""
    assert names(tmp_path, body) == ["b-0-0", "b-0-1", "b-0-2", "b-0.5-0", "b-0.5-1", "b-0.5-2"]
    made = cells(tmp_path, body)[4]
    assert (made.params["beta1"], made.params["beta2"], made.params["epsilon_low"]) == (0.5, 1.0, 0.2)


def test_zip_goes_row_by_row(tmp_path: Path) -> None:
    body = "arms:\n- {name: 'b-{beta1}-{beta2}', algorithm: cegppo, zip: {beta1: [1, 0], beta2: [0.5, 1]}}\n"
    assert names(tmp_path, body) == ["b-1-0.5", "b-0-1"]


def test_zip_and_product_together(tmp_path: Path) -> None:
    body = """arms:
- name: b-{beta1}-{beta2}-{epsilon_high}
  algorithm: cegppo
  zip: {beta1: [1, 0], beta2: [0.5, 1]}
  product: {epsilon_high: [0.2, 0.28]}
"""
    assert names(tmp_path, body) == ["b-1-0.5-0.2", "b-1-0.5-0.28", "b-0-1-0.2", "b-0-1-0.28"]


STAR = """arms:
- name: NAME
  algorithm: cegppo
  star:
    centre: {beta1: 0.5, beta2: 1, epsilon_high: 0.2}
    factors: {beta1: [0, 0.5, 1], epsilon_high: [0.28]}
"""


def test_star_has_the_centre_once_and_moves_one_factor_at_a_time(tmp_path: Path) -> None:
    made = cells(tmp_path, STAR.replace("NAME", "ce"))
    assert [cell.arm for cell in made] == ["ce", "ce-beta1-0", "ce-beta1-1", "ce-epsilon_high-0.28"]
    moved = [{key for key in cell.params if cell.params[key] != made[0].params[key]} for cell in made]
    assert moved == [set(), {"beta1"}, {"beta1"}, {"epsilon_high"}]


def test_star_with_a_pattern(tmp_path: Path) -> None:
    body = STAR.replace("NAME", "ce-{beta1}-{epsilon_high}")
    assert names(tmp_path, body) == ["ce-0.5-0.2", "ce-0-0.2", "ce-1-0.2", "ce-0.5-0.28"]


def test_entries_of_all_forms_in_one_list_keep_their_order(tmp_path: Path) -> None:
    body = """arms:
- {name: first, algorithm: grpo}
- {name: "{algorithm}", product: {algorithm: [gppo, dgpo]}}
- {name: last, algorithm: dapo}
"""
    assert names(tmp_path, body) == ["first", "gppo", "dgpo", "last"]


def test_settings_and_shared_values(tmp_path: Path) -> None:
    body = """arms:
- name: e-{settings.entropy_coeff}-{settings.eval.every}
  algorithm: grpo
  params: {epsilon: 0.3}
  settings: {grad_clip: 0.5, eval: {temperature: 0.7}}
  priority: 3
  product: {settings.entropy_coeff: [0.001, 0], settings.eval.every: [4]}
"""
    grid = load(tmp_path, body)
    assert [arm.name for arm in grid.arms] == ["e-0.001-4", "e-0-4"]
    settings = [cell.settings for cell in cells(tmp_path, body)]
    assert [found.entropy_coeff for found in settings] == [0.001, 0]
    assert {found.grad_clip for found in settings} == {0.5}
    assert {(found.eval.temperature, found.eval.every) for found in settings} == {(0.7, 4)}
    assert {arm.params["epsilon"] for arm in grid.arms} == {0.3}
    assert grid.priority_of("e-0-4") == 3


def test_an_arm_without_a_priority_has_the_grids(tmp_path: Path) -> None:
    grid = load(
        tmp_path,
        "priority: 2\narms:\n- {name: a, algorithm: grpo}\n- {name: b, algorithm: dapo, priority: 0}\n",
    )
    assert [grid.priority_of(name) for name in "ab"] == [2, 0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.5"),
        (1.0, "1"),
        (1e-6, "1e-06"),
        (1e9, "1e9"),
        (123456.0, "123456"),
        (-0.5, "m0.5"),
        (None, "off"),
        (True, "true"),
        ("paper", "paper"),
        ({"0%": 0.0, "50%": 0.5}, "0-to-0.5"),
    ],
)
def test_values_in_names(value: object, shown: str) -> None:
    assert text(value) == shown


def test_too_many_arms_are_refused_before_they_are_made(tmp_path: Path) -> None:
    values = str(list(range(1, 1000)))
    product = {key: list(range(999)) for key in ("beta1", "beta2", "a", "b")}
    assert size(Generator(name="x", product=product)) == 999**4 > MAX_ARMS
    body = (
        f"arms:\n- {{name: x, algorithm: cegppo, product: {{beta1: &v {values}, beta2: *v, a: *v, b: *v}}}}\n"
    )
    with pytest.raises(UserError, match="arms are more than"):
        load(tmp_path, body)


def test_an_error_in_a_later_entry_names_that_entry(tmp_path: Path) -> None:
    body = """arms:
- {name: "b-{beta1}", algorithm: cegppo, params: {beta2: 1}, product: {beta1: [0, 1, 2]}}
- {name: plain, algorithm: grpo, params: {epsilon: 20}}
"""
    with pytest.raises(UserError) as caught:
        load(tmp_path, body)
    assert caught.value.key == "arms[1].params.epsilon"
    assert "(line 9)" in caught.value.message

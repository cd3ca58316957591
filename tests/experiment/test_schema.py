"""The JSON Schema that editors get agrees with the loader: on every committed grid, and on many bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.schema import grid_schema
from cegppo_verl.experiment.yaml_file import read_yaml
from cegppo_verl.losses.registry import LOSSES

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[2]
GRIDS = sorted((ROOT / "ablations").glob("*.yaml"))
BAD = Path(__file__).parent / "bad_grids"
SCHEMA = grid_schema()


def mistakes(data: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(data)]


def demo(**changes: Any) -> dict[str, Any]:
    return {**read_yaml(ROOT / "ablations" / "demo.yaml").data, **changes}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.stem)
def test_committed_grids_are_valid(file: Path) -> None:
    assert mistakes(read_yaml(file).data) == []


# Of the corpus, what a schema can see; the rest is arithmetic between keys, or no YAML.
SEEN = (
    "unknown_key",
    "misspelt_key",
    "missing_question",
    "unknown_scale",
    "unknown_preset",
    "unknown_algorithm",
    "arm_misspelt_key",
    "beta1_missing",
    "beta1_negative",
    "beta_of_grpo",
    "epsilon_zero",
    "seed_negative",
    "seed_twice",
    "settings_misspelt",
    "settings_agg_mode",
    "settings_eval_every_zero",
    "schedule_step_not_whole",
    "product_empty_list",
    "product_of_unknown_setting",
    "star_without_factors",
    "star_and_product",
    "budget_unknown_key",
    "budget_negative",
    "early_stop_unknown_key",
    "early_stop_as_mapping",
    "settings_by_unknown_scale",
    "arm_settings_misspelt",
)


@pytest.mark.parametrize("name", SEEN)
def test_bad_grids_are_not(name: str) -> None:
    assert mistakes(read_yaml(BAD / f"{name}.yaml").data) != []


def test_names_are_enumerated() -> None:
    assert SCHEMA["properties"]["scales"]["items"]["enum"] == list(catalog.scales())
    assert SCHEMA["$defs"]["Arm"]["properties"]["algorithm"]["anyOf"][0]["enum"] == list(LOSSES)


def test_generators_settings_and_rules_are_known() -> None:
    arm = {
        "name": "b-{beta1}",
        "algorithm": "cegppo",
        "params": {"beta2": 1.0},
        "product": {"beta1": [0, 0.5]},
    }
    rule = {"metric": "actor/entropy", "below": 0.01, "for_steps": 5}
    assert mistakes(demo(arms=[arm], early_stop=[rule], budget={"hours": 3}, priority=-1)) == []
    assert (
        mistakes(demo(settings={"updates_per_step": 4}, settings_by_scale={"toy-xs": {"eval": {"every": 3}}}))
        == []
    )
    assert mistakes(demo(arms=[{**arm, "star": {"centre": {"beta1": 1}, "factors": {"beta1": [0]}}}]))


def test_a_schedule_and_an_outside_loss() -> None:
    arm = {"name": "a", "algorithm": "cegppo", "params": {"beta1": {"0%": 0, "50%": 0.5}, "beta2": {"1": 1}}}
    assert mistakes(demo(arms=[arm, {"name": "b", "algorithm": "my.loss", "params": {"anything": 1}}])) == []
    arm["params"] = {"beta1": {"half": 0.5}, "beta2": 1}
    assert mistakes(demo(arms=[arm]))

"""The grid file as a JSON Schema (draft 2020-12), for editors that complete and check YAML.

It knows the names of algorithms, parameters, scales, presets and settings, and the range of each parameter.
What one key means for another (batches that do not divide, twins) only `cegppo plan` checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.generators import Generator
from cegppo_verl.experiment.grid import Grid
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.experiment.updates import UPDATES
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import Param, specs
from cegppo_verl.losses.registry import LOSSES

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_CHANGES = {"$ref": "#/$defs/Changes"}


def grid_schema() -> dict[str, Any]:
    """The schema of a grid file as its author writes it: generators included, settings optional."""
    grid = deepcopy(Grid.model_json_schema())
    several = Generator.model_json_schema()
    changes = _changes()
    grid["$schema"], grid["title"] = DIALECT, "cegppo grid"
    definitions = grid["$defs"] | several.pop("$defs") | changes.pop("$defs")
    definitions |= {"Changes": changes, "Generator": several}
    grid["$defs"] = definitions
    _name_scales(grid["properties"])
    _name_algorithms(definitions)
    grid["properties"]["arms"]["items"] = {
        "if": {"anyOf": [{"required": [form]} for form in ("product", "zip", "star")]},
        "then": {"$ref": "#/$defs/Generator"},
        "else": {"$ref": "#/$defs/Arm"},
    }
    return grid


def _changes() -> Schema:
    """The settings with nothing required, since the preset gives the rest, and ``updates_per_step``."""
    schema = deepcopy(Settings.model_json_schema())
    for partial in (schema, schema["$defs"]["EvalSettings"], schema["$defs"]["CheckpointSettings"]):
        partial.pop("required", None)
    schema["properties"][UPDATES] = {
        "type": "integer",
        "minimum": 1,
        "description": "optimiser updates per rollout batch, instead of mini_batch_size",
    }
    return schema | {"title": "Changes", "description": "changes to the preset, same keys"}


def _name_scales(properties: Schema) -> None:
    scales, presets = list(catalog.scales()), list(catalog.presets())
    properties["scales"]["items"] = {"enum": scales}
    properties["scales"]["uniqueItems"] = properties["seeds"]["uniqueItems"] = True
    properties["preset"] = {"enum": [*presets, None], "description": properties["preset"]["description"]}
    properties["settings"] = _CHANGES
    properties["settings_by_scale"] = {
        "type": "object",
        "properties": dict.fromkeys(scales, _CHANGES),
        "additionalProperties": False,
        "description": properties["settings_by_scale"]["description"],
    }


def _name_algorithms(definitions: Schema) -> None:
    # A loss from outside the package is a module or a file: its name has a dot, a slash or a colon.
    names = {"anyOf": [{"enum": list(LOSSES)}, {"type": "string", "pattern": "[./:]"}]}
    for name in ("Arm", "Generator"):
        definitions[name]["properties"]["settings"] = _CHANGES
        definitions[name]["properties"]["algorithm"] = names
        definitions[name]["allOf"] = [
            _when(algorithm, loss, complete=name == "Arm") for algorithm, loss in LOSSES.items()
        ]
    varied = {"propertyNames": _varied_names()}
    for owner, key in (("Generator", "product"), ("Generator", "zip"), ("Star", "factors")):
        schema = definitions[owner]["properties"][key]
        lists = {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "array", "minItems": 1},
        }
        definitions[owner]["properties"][key] = {"description": schema["description"], **lists, **varied}
    definitions["Star"]["properties"]["centre"] |= {**varied, "minProperties": 1}
    definitions["Star"]["required"] = ["centre", "factors"]
    definitions["Generator"]["not"] = {
        "required": ["star"],
        "anyOf": [{"required": ["product"]}, {"required": ["zip"]}],
    }


def _varied_names() -> Schema:
    known = {name for loss in LOSSES.values() for name in specs(loss.params)}
    settings = "|".join([*Settings.model_fields, UPDATES])
    return {
        "anyOf": [
            {"enum": [*sorted(known), "algorithm"]},
            {"pattern": rf"^settings\.(?:{settings})(?:\.\w+)?$"},
        ]
    }


def _when(algorithm: str, loss: Loss, *, complete: bool) -> Schema:
    """``params`` of an arm with this algorithm; a generator's need not be complete."""
    known = specs(loss.params)
    params: Schema = {
        "type": "object",
        "properties": {name: _value(param) for name, param in known.items()},
        "additionalProperties": False,
    }
    then: Schema = {"properties": {"params": params}}
    required = [name for name, param in known.items() if param.required]
    if required and complete:
        params["required"] = required
        then["required"] = ["params"]
    condition = {"properties": {"algorithm": {"const": algorithm}}, "required": ["algorithm"]}
    return {"if": condition, "then": then}


def _value(param: Param) -> Schema:
    about = "; ".join(part for part in (f"{param.symbol}: {param.doc}", param.source) if part)
    if param.choices:
        return {"enum": list(param.choices), "description": about}
    number = _number(param)
    schedule = {
        "type": "object",
        "patternProperties": {r"^\d+(?:\.\d+)?\s*%$|^\d+$": number},
        "additionalProperties": False,
        "minProperties": 1,
    }
    off = [{"type": "null"}] if param.nullable else []
    return {"anyOf": [number, schedule, *off], "description": about, **_default(param)}


def _number(param: Param) -> Schema:
    number: Schema = {"type": "number", "exclusiveMinimum" if param.open_low else "minimum": param.low}
    return number if param.high == math.inf else number | {"maximum": param.high}


def _default(param: Param) -> Mapping[str, Any]:
    return {} if param.required else {"default": param.default}

"""The algorithms a grid may name, and their parameters as a grid writes them.

What exists is declared in ``cegppo_verl.losses``, which can be read without torch, or in a module or file
that the grid names. Here it is checked, with the file, the key and the line of a mistake, and put into
verl's words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.yaml_file import Document, KeyPath, key_text
from cegppo_verl.losses import external, schedule
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import Param, from_values, specs
from cegppo_verl.losses.registry import LOSSES

Params = dict[str, float | str | dict[str, float] | None]
"""A number, a word, a schedule (step → number; JSON has no keys but text), or None for "off"."""

ACTOR = "actor_rollout_ref.actor"
TARGET = "cegppo_verl.verl_plugin.config.LossConfig"
ALGORITHMS = LOSSES

# What people write, and what we call it.
_ALGORITHM_ALIASES = {
    "ppo": "PPO-clip on group-relative advantages is 'grpo'",
    "vanilla": "verl's 'vanilla' is 'grpo' here",
    "ce-gppo": "write 'cegppo'",
    "ce_gppo": "write 'cegppo'",
    "clip-higher": "clip-higher is 'dapo'",
    "gmpo": "verl calls GMPO 'geo_mean', and so does this project",
    "dppo": "write 'dppo_tv' or 'dppo_kl'",
}
_PARAM_ALIASES = {
    "clip_ratio": "epsilon",
    "clip_ratio_low": "epsilon_low",
    "clip_ratio_high": "epsilon_high",
    "clip_ratio_c": "dual_clip",
    "eps": "epsilon",
    "eps_low": "epsilon_low",
    "eps_high": "epsilon_high",
    "clip_low": "epsilon_low",
    "clip_high": "epsilon_high",
    "b1": "beta1",
    "b2": "beta2",
}


def algorithm(name: str, document: Document | None = None, path: KeyPath = ("algorithm",)) -> Loss:
    """The algorithm called ``name``: a name of ``cegppo losses``, a module, or a file.

    Raises:
        UserError: there is none, with the nearest name; or the module or file holds no loss.
    """
    if name not in LOSSES and not external.is_external(name):
        hint = _ALGORITHM_ALIASES.get(name.lower()) or did_you_mean(name.lower(), LOSSES)
        raise _error(f"unknown algorithm '{name}'", hint, document, path)
    try:
        return external.find(name)
    except ValueError as error:
        hint = "name a module or file with a LOSS; `cegppo new-loss` writes a first one"
        raise _error(str(error), hint, document, path) from error


def resolve_params(
    name: str, given: Mapping[str, object], document: Document | None = None, path: KeyPath = ("params",)
) -> Params:
    """All parameters of an algorithm, in its order: those given, checked, and the defaults of the others.

    Raises:
        UserError: unknown, missing, mistyped or out of range; the key is the parameter's.
    """
    loss = algorithm(name, document)
    known = specs(loss.params)
    for key in given:
        if key not in known:
            raise _error(
                f"'{name}' has no parameter '{key}'", _param_hint(key, known), document, (*path, key)
            )
    params = {key: _resolve(param, given, document, (*path, key)) for key, param in known.items()}
    _check_together(loss, params, document, path)
    return params


def _check_together(loss: Loss, params: Params, document: Document | None, path: KeyPath) -> None:
    for key, value in params.items():
        if isinstance(value, Mapping) and loss.runs is not None:
            hint = "write a number; schedules work for the losses of this project"
            raise _error(
                "verl's own loss runs here, and its settings hold for the whole run",
                hint,
                document,
                (*path, key),
            )
    try:
        from_values(loss.params, schedule.starting_values(params))
        schedule.controller_of(loss, params)
    except ValueError as error:
        raise _error(str(error), "change what it names", document, path) from error


def _param_hint(key: str, known: Mapping[str, Param]) -> str:
    alias = _PARAM_ALIASES.get(key, "")
    if not known:
        return "this algorithm has no parameters"
    return f"verl's and others' '{key}' is '{alias}' here" if alias in known else did_you_mean(key, known)


def _resolve(param: Param, given: Mapping[str, object], document: Document | None, path: KeyPath) -> Any:
    key = str(path[-1])
    if key in given:
        return _checked(param, given[key], document, path)
    if not param.required:
        return param.default
    example = f"add '{key}: {param.example}'" if param.example is not None else f"add '{key}: <value>'"
    hint = f"{example}; {param.symbol} is the {param.doc} and has no agreed default"
    raise _error("this parameter is required", hint, document, path)


def _checked(param: Param, value: Any, document: Document | None, path: KeyPath) -> Any:
    if isinstance(value, Mapping):
        problem = schedule.check_schedule(param, value)
        if problem:
            hint = "a schedule is {step: value}, e.g. {1: 0.0, 585: 0.5}: each value holds from its step on"
            raise _error(problem, hint, document, path)
        return _canonical(value)
    if param.choices or (value is None and param.nullable):
        problem = param.problem(value)
        if problem:
            raise _error(problem, f"{param.symbol} is the {param.doc}", document, path)
        return value
    return _number(param, value, document, path)


def _canonical(table: Mapping[Any, Any]) -> dict[str, float] | float:
    """A schedule as it is hashed: from step 1 on, changes only; a plain number where nothing changes."""
    steps = sorted((int(step), float(value)) for step, value in table.items())
    kept = [(1, [value for step, value in steps if step <= 1][-1])]
    for step, value in steps:
        if step > 1 and value != kept[-1][1]:
            kept.append((step, value))
    return {str(step): value for step, value in kept} if len(kept) > 1 else kept[0][1]


def _number(param: Param, value: Any, document: Document | None, path: KeyPath) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        hint = f"write a number without quotes; {param.symbol} is the {param.doc}"
        if path[-1] == "dual_clip" and value is None:
            hint = "verl's vanilla loss always has a dual clip; 1e9 makes it do nothing"
        raise _error(f"must be a number, not {shown}", hint, document, path)
    number = float(value) if abs(value) < 1e308 else math.inf
    if param.problem(number):
        hint = param.why(number) if param.why else f"{param.symbol} is the {param.doc}"
        raise _error(f"{param.symbol} = {value:g} is outside {param.interval}", hint, document, path)
    return number


def overrides(name: str, params: Params) -> dict[str, object]:
    """The Hydra overrides that make verl train with an algorithm.

    ``+`` appends keys that verl's own policy-loss configuration does not have.
    """
    loss = algorithm(name)
    group: dict[str, object] = {
        f"{ACTOR}.policy_loss._target_": TARGET,
        f"{ACTOR}.policy_loss.loss_mode": loss.runs or external.label(name),
        f"+{ACTOR}.policy_loss.algorithm": external.resolved(name),
    }
    group |= {f"+{ACTOR}.policy_loss.params.{key}": value for key, value in params.items()}
    if loss.verl is not None:
        starting = from_values(loss.params, schedule.starting_values(params))
        group |= {f"{ACTOR}.{key}": value for key, value in loss.verl(starting).items()}
    if loss.loss_agg_mode is not None:
        group[f"{ACTOR}.loss_agg_mode"] = loss.loss_agg_mode
    if "entropy" in loss.needs:
        group[f"{ACTOR}.calculate_entropy"] = True
    return group


def _error(message: str, hint: str, document: Document | None, path: KeyPath) -> UserError:
    line = document.line(path) if document else None
    file = document.file if document else None
    return UserError(message + (f" (line {line})" if line else ""), file=file, key=key_text(path), hint=hint)

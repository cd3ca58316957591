"""What a loss declares, as lines of text: the list, the explanation and the page all say the same."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.losses import external
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import Param, from_values, specs
from cegppo_verl.losses.registry import LOSSES

Values = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """Parameters to draw a loss with, and which of them nobody gave: they only illustrate.

    Args:
        values: every parameter, by name. illustrative: names of required ones that were chosen here.
    """

    values: Values
    illustrative: tuple[str, ...]


def find(name: str) -> Loss:
    """The loss called ``name``: of the registry, a module, or a file.

    Raises:
        UserError: there is none, or its module holds no loss.
    """
    if name not in LOSSES and not external.is_external(name):
        raise UserError(f"no loss is called '{name}'", hint=did_you_mean(name, LOSSES))
    try:
        return external.find(name)
    except ValueError as error:
        hint = "name a module or a file with a LOSS; `cegppo new-loss --file` writes a first one"
        raise UserError(str(error), hint=hint) from error


def example(loss: Loss, given: Mapping[str, Any] | None = None) -> Example:
    """Values for every parameter: those given, the defaults, and for required ones the declared example.

    Raises:
        UserError: an unknown name, or a value outside its range.
    """
    known, given = specs(loss.params), dict(given or {})
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) if known else "this loss has no parameters"
            raise UserError(f"there is no parameter '{name}'", key="--param", hint=hint)
    open_ones = tuple(name for name, spec in known.items() if spec.required and name not in given)
    values = {name: given.get(name, spec.default) for name, spec in known.items()}
    values |= {name: _illustration(known[name]) for name in open_ones}
    build(loss, values)
    return Example(values, open_ones)


def build(loss: Loss, values: Mapping[str, Any]) -> Any:
    """The loss's parameters.

    Raises:
        UserError: what the loss itself refuses.
    """
    try:
        return from_values(loss.params, values)
    except ValueError as error:
        ranges = "; ".join(f"{name} in {allowed(spec)}" for name, spec in specs(loss.params).items())
        raise UserError(str(error), key="--param", hint=f"give values in range: {ranges}") from error


def _illustration(spec: Param) -> Any:
    """Some value inside the range of a parameter that names neither default nor example."""
    if spec.example is not None or spec.nullable:
        return spec.example
    if spec.choices:
        return spec.choices[0]
    return spec.low + 1.0 if spec.high == float("inf") else (spec.low + spec.high) / 2


def allowed(spec: Param) -> str:
    """The range, or the words, of a parameter."""
    span = " | ".join(spec.choices) if spec.choices else spec.interval
    return f"{span} or off" if spec.nullable else span


def shown(value: Any) -> str:
    """A value as people write it; None is a limit that is off."""
    return "off" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)


def setting(name: str, spec: Param) -> str:
    """``ε_low (epsilon_low) = 0.2``, or that it is required."""
    label = spec.symbol if spec.symbol == name else f"{spec.symbol} ({name})"
    if not spec.required:
        return f"{label} = {shown(spec.default)}"
    return f"{label} required" + (f", e.g. {shown(spec.example)}" if spec.example is not None else "")


def source(spec: Param) -> str:
    """Where the default, or the range of a required parameter, comes from."""
    return spec.source or "source not stated"


def whose(loss: Loss) -> str:
    """Whose code runs in training."""
    return f"verl's {loss.runs}" if loss.runs else "ours"


def needs(loss: Loss) -> list[str]:
    """What a loss needs beyond verl's signature, and what changes its parameters while it runs."""
    words = {"entropy": "per-token entropy of π_θ", "old_entropy": "per-token entropy of π_old"}
    parts = [words.get(need, need) for need in sorted(loss.needs)]
    parts += ["statistics of the whole mini-batch"] if loss.statistics else []
    parts += ["a controller in the driver"] if loss.controller else []
    parts += ["an auxiliary term with its own gradient"] if loss.auxiliary else []
    parts += ["the mean of each micro-batch"] if loss.reduction == "micro-batch" else []
    parts += [f"verl's reduction {loss.loss_agg_mode}"] if loss.loss_agg_mode else []
    return parts


def formula(loss: Loss, name: str) -> str:
    """The text of the module that holds the loss: its equation and the weight of every region."""
    module = _module(loss, name)
    return module.__doc__.strip() if module is not None and module.__doc__ else loss.summary


def _module(loss: Loss, name: str) -> ModuleType | None:
    """Where the loss is declared: where its weight, or its parameters, were written."""
    candidates: Sequence[str] = [
        getattr(loss.weight, "__module__", ""),
        getattr(loss.params, "__module__", ""),
        name.partition(":")[0],
    ]
    holders = (sys.modules.get(candidate) for candidate in candidates)
    found = [m for m in holders if m is not None and any(value is loss for value in vars(m).values())]
    return found[0] if found else None

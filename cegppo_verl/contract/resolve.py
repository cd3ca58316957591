"""From what a person typed to a loss under test: a name, a file or a module, in one of three forms."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from cegppo_verl.contract import rows, runner
from cegppo_verl.contract.subjects import Expected, LossObject, PerToken, Subject
from cegppo_verl.contract.verl_form import VerlFunction, own
from cegppo_verl.errors import UserError, did_you_mean, nearest
from cegppo_verl.losses import parameters
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.registry import LOSSES

TENSORS = ("old_log_prob", "log_prob", "advantages")
MASKS = ("mask", "response_mask")
ENTROPIES = frozenset({"entropy", "old_entropy"})
VERL_NAMES = (*TENSORS, "response_mask", "loss_agg_mode", "config", "rollout_is_weights")
FORMS = (
    f"a Loss called LOSS, a function ({', '.join(VERL_NAMES)}) → (loss, metrics), "
    f"or a function ({', '.join(TENSORS)}, mask, …) → per-token loss"
)


def subject(target: str, given: Mapping[str, Any] | None = None) -> Subject:
    """The loss meant by ``target``.

    Args:
        target: a name of the registry, ``path/to/file.py[:function]`` or ``package.module[:function]``.
        given: hyper-parameters by name.

    Raises:
        UserError: no such loss, with the nearest name; or hyper-parameters are missing, unknown or bad.
    """
    given = dict(given or {})
    if target in LOSSES:
        return registered(target, given)
    source, _, attribute = target.partition(":")
    if not (source.endswith(".py") or "." in source or attribute):
        raise UserError(f"no loss is called '{target}'", hint=did_you_mean(target, LOSSES))
    module = _load(source)
    found = _attribute(module, source, attribute)
    return from_object(found, target, given, module)


def from_object(found: Any, name: str, given: dict[str, Any], module: ModuleType | None = None) -> Subject:
    """A Loss or a function as a subject; its module may state ``literal`` and ``CONTRACT_EXCEPTIONS``."""
    expected = Expected(
        getattr(module, "literal", None),
        exceptions=_exceptions(getattr(module, "CONTRACT_EXCEPTIONS", {}), name.partition(":")[0]),
        source=f"{name.partition(':')[0]}:literal",
    )
    if isinstance(found, Loss):
        return _loss(found, name, (_values(found, name, given),), expected)
    if not callable(found):
        raise UserError(f"'{name}' is a {type(found).__name__}, not a loss", hint=f"it must be {FORMS}")
    return _function(found, name, given, expected)


def _exceptions(stated: Any, file: str) -> Mapping[str, str]:
    """A file's ``CONTRACT_EXCEPTIONS``, {check: reason}; UserError for a check that does not exist."""
    place: dict[str, str] = {"file": file, "key": "CONTRACT_EXCEPTIONS"}
    if not isinstance(stated, Mapping):
        raise UserError("is not a dict", hint='write {"name of the check": "reason"}', **place)
    for check, reason in stated.items():
        if check not in runner.CHECKS:
            raise UserError(
                f"no check is called '{check}'", hint=did_you_mean(str(check), runner.CHECKS), **place
            )
        if not (isinstance(reason, str) and reason.strip()):
            raise UserError(f"'{check}' has no reason", hint="say why the loss may fail it", **place)
    return stated


def registered(name: str, given: dict[str, Any], row: Any = None) -> Subject:
    """A loss of the registry, with its row of the test suite where that can be found.

    Args:
        row: the row, to try all of its parameter settings instead of ``given``.
    """
    loss = LOSSES[name]
    usual = (given,) if row is None else row.parameters
    settings = tuple(_values(loss, name, each) for each in usual)
    return _loss(loss, name, settings, rows.expected(row or rows.find(name), name, loss))


def everything() -> list[Subject]:
    """Every loss of the registry, with all settings of its row, or with examples outside of a checkout."""
    return [registered(name, _examples(LOSSES[name]), rows.find(name)) for name in LOSSES]


def _examples(loss: Loss) -> dict[str, Any]:
    return {key: spec.example for key, spec in parameters.specs(loss.params).items() if spec.required}


def _loss(loss: Loss, name: str, settings: tuple[dict[str, Any], ...], expected: Expected) -> Subject:
    common: dict[str, Any] = {"name": name, "settings": settings, "expected": expected, "loss": loss}
    if loss.runs is None:
        return LossObject(**common, needs=loss.needs)
    try:
        function = own(loss.runs)
    except ImportError as error:
        raise UserError(
            f"'{name}' runs verl's own code, and verl is not installed", hint="make setup"
        ) from error
    arrange = lambda values: (loss.verl or (lambda _: {}))(loss.params(**values))  # noqa: E731
    form = f"verl's own policy loss '{loss.runs}', as a function with verl's signature"
    mode = loss.loss_agg_mode or "token-mean"
    return VerlFunction(**common, needs=loss.needs, function=function, arrange=arrange, form=form, mode=mode)


def _values(loss: Loss, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete parameter values, or a UserError that names what is missing, with its example."""
    specs = parameters.specs(loss.params)
    unknown = next((key for key in given if key not in specs), None)
    if unknown is not None:
        raise UserError(f"'{name}' has no parameter '{unknown}'", hint=did_you_mean(unknown, specs))
    missing = {key: spec.example for key, spec in specs.items() if spec.required and given.get(key) is None}
    if missing:
        _missing(name, missing)
    try:
        return parameters.from_values(loss.params, given).as_dict()
    except ValueError as error:
        bad = next((key for key in given if str(error).startswith(f"{key} ")), None)
        why = specs[bad].why if bad is not None else None
        number = given[bad] if bad is not None else None
        hint = why(number) if why and isinstance(number, int | float) else None
        raise UserError(f"'{name}': {error}", hint=hint) from error


def _missing(name: str, examples: Mapping[str, Any]) -> None:
    shown = " ".join(
        f"--param {key}={'…' if example is None else example}" for key, example in examples.items()
    )
    raise UserError(f"'{name}' needs {', '.join(examples)}: no default", hint=f"add {shown}")


def _function(function: Callable[..., Any], name: str, given: dict[str, Any], expected: Expected) -> Subject:
    signature = inspect.signature(function).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    common: dict[str, Any] = {"name": name, "settings": (given,), "expected": expected, "function": function}
    if all(key in signature for key in VERL_NAMES):
        return VerlFunction(**common)
    mask = next((key for key in MASKS if key in signature), None)
    if mask is None or any(key not in signature for key in TENSORS):
        raise UserError(
            f"'{name}' has the signature {inspect.signature(function)}", hint=f"it must be {FORMS}"
        )
    hyper = {
        k: p
        for k, p in signature.items()
        if k not in {*TENSORS, mask, *ENTROPIES} and p.kind is not p.VAR_KEYWORD
    }
    unknown = next((key for key in given if key not in hyper and not open_ended), None)
    if unknown is not None:
        raise UserError(f"'{name}' has no parameter '{unknown}'", hint=did_you_mean(unknown, hyper))
    missing = {k: None for k, p in hyper.items() if p.default is p.empty and k not in given}
    if missing:
        _missing(name, missing)
    defaults = {k: p.default for k, p in hyper.items() if p.default is not p.empty}
    common["settings"] = (defaults | given,)
    return PerToken(**common, mask_name=mask, needs=ENTROPIES & set(signature))


def _load(source: str) -> ModuleType:
    from cegppo_verl.losses import external

    if source.endswith(".py") and not Path(source).is_file():
        raise UserError(f"there is no file '{source}'", hint=_nearest_file(Path(source)))
    try:
        return external.module_of(source) if source.endswith(".py") else importlib.import_module(source)
    except ValueError as error:
        raise UserError(str(error)) from error
    except ImportError as error:
        raise UserError(
            f"'{source}' cannot be imported: {error}", hint="run where Python can import it"
        ) from error
    except Exception as error:  # the person's own file
        raise UserError(f"{type(error).__name__} while importing: {error}", file=source) from error


def _nearest_file(path: Path) -> str:
    beside = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
    near = nearest(path.name, beside)
    return f"did you mean '{path.parent / near}'?" if near else f"no such file in {path.parent.resolve()}"


def _attribute(module: ModuleType, source: str, attribute: str) -> Any:
    if attribute:
        if not hasattr(module, attribute):
            public = [key for key in vars(module) if not key.startswith("_")]
            raise UserError(f"'{source}' has no '{attribute}'", hint=did_you_mean(attribute, public))
        return getattr(module, attribute)
    if isinstance(getattr(module, "LOSS", None), Loss):
        return module.LOSS
    found = {key: value for key, value in vars(module).items() if _is_loss_function(value, module)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UserError(
            f"'{source}' has several losses: {', '.join(found)}", hint=f"choose: {source}:{next(iter(found))}"
        )
    raise UserError(f"no loss is in '{source}'", hint=f"it must hold {FORMS}")


def _is_loss_function(value: Any, module: ModuleType) -> bool:
    if not inspect.isfunction(value) or value.__module__ != module.__name__ or value.__name__ == "literal":
        return False
    names = inspect.signature(value).parameters
    return all(key in names for key in TENSORS) and any(key in names for key in MASKS)

"""Turn a pydantic error into an error that a person can act on: file, key path, line, nearest name, fix."""

from __future__ import annotations

import re
import types
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.yaml_file import Document, KeyPath, key_text

NAME_PATTERN = r"^[a-z0-9]+(?:[-_.][a-z0-9]+)*$"
# Names become folder names: lower case because some file systems fold case; single separators because a slug
# joins its parts with "__".
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=64)]

Model = TypeVar("Model", bound="Strict")


class Strict(BaseModel):
    """Base of everything read from a file: immutable, unknown keys and silent conversions refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def reject(key: str, message: str, hint: str) -> PydanticCustomError:
    """What a validator raises when ``key`` (relative to its model) contradicts another key."""
    text = message.replace("{", "(").replace("}", ")")
    return PydanticCustomError("contradiction", text, {"key": key, "hint": hint})


def validate(
    model: type[Model], data: object, document: Document | None = None, prefix: KeyPath = ()
) -> Model:
    """``model`` from ``data``, which stands at ``prefix`` in ``document``.

    Raises:
        UserError: the first mistake in full, the keys of the others by name.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise user_error(error, model, document, prefix) from error


def user_error(
    error: ValidationError, model: type[BaseModel], document: Document | None = None, prefix: KeyPath = ()
) -> UserError:
    """The :class:`UserError` for a pydantic error; an unknown key comes before the one it leaves missing."""
    found = sorted(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    paths = [_path(item, prefix) for item in found]
    line = document.line(paths[0]) if document else None
    message = _message(found[0]) + (f" (line {line})" if line else "")
    if len(found) > 1:
        message += "; also wrong: " + ", ".join(dict.fromkeys(key_text(path) for path in paths[1:6]))
    hint = _hint(found[0], model)
    return UserError(message, file=document.file if document else None, key=key_text(paths[0]), hint=hint)


def _path(item: ErrorDetails, prefix: KeyPath) -> KeyPath:
    extra = item.get("ctx", {}).get("key")
    return (*prefix, *item["loc"], *(str(extra).split(".") if extra else ()))


_MESSAGES = {
    "missing": "this key is required",
    "extra_forbidden": "unknown key",
    "too_short": "must name at least one",
    "string_pattern_mismatch": "'{shown}' is not a usable name",
    "model_type": "must be a mapping, not {shown}",
    "dict_type": "must be a mapping, not {shown}",
    "list_type": "must be a list, not {shown}",
    "tuple_type": "must be a list, not {shown}",
}


def _message(item: ErrorDetails) -> str:
    kind = item["type"]
    if kind == "contradiction":
        return item["msg"]
    shown = item["input"] if kind == "string_pattern_mismatch" else _shown(item["input"])
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(shown=shown)
    text = item["msg"].replace("Input should be", "must be").replace("String should", "must")
    return f"{text[:1].lower()}{text[1:]}, not {shown}"


def _shown(value: object) -> str:
    text = {True: "true", False: "false", None: "null"}.get(value) if isinstance(value, bool | None) else None
    text = text or repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_HINTS = {
    "missing": "add it; ablations/demo.yaml has every required key",
    "int_type": "write a whole number without quotes, e.g. 24",
    "int_from_float": "write a whole number, e.g. 24",
    "float_type": "write a number without quotes, e.g. 0.5",
    "finite_number": "write a finite number",
    "bool_type": "write true or false",
    "string_type": "write text; quote it if it looks like a number",
    "string_too_short": "write at least one sentence",
    "string_pattern_mismatch": "use lower-case letters and digits, joined by single '-', '_' or '.'",
    "string_too_long": "shorten it",
    "list_type": "write a list, e.g. [a, b]",
    "tuple_type": "write a list, e.g. [a, b]",
    "too_short": "name at least one",
    "dict_type": "write 'key: value' lines below it",
    "model_type": "write 'key: value' lines below it",
}


# What verl and others call our keys, where the names are too unlike to be guessed.
_ALIASES = {
    "lr": "learning_rate",
    "n": "rollouts_per_prompt",
    "group_size": "rollouts_per_prompt",
    "batch_size": "train_batch_size",
    "epochs": "ppo_epochs",
    "test_freq": "every",
    "save_freq": "every",
    "k": "samples",
    "clip_grad": "grad_clip",
}


def _hint(item: ErrorDetails, model: type[BaseModel]) -> str:
    context = item.get("ctx", {})
    if "hint" in context:
        return str(context["hint"])
    *above, name = item["loc"] or ("",)
    owner = _model_at(model, tuple(above))
    if item["type"] == "extra_forbidden" and owner:
        alias = _ALIASES.get(str(name))
        return (
            f"write '{alias}'" if alias in owner.model_fields else did_you_mean(str(name), owner.model_fields)
        )
    if item["type"] == "literal_error":
        return did_you_mean(str(item["input"]), re.findall("'([^']+)'", str(context["expected"])))
    known = owner.model_fields.get(str(name)) if owner else None
    meaning = f"{name} is {known.description}" if known and known.description else ""
    fix = _HINTS.get(item["type"], "")
    limit = (
        "use a value within the limit"
        if not fix and any(key in context for key in ("gt", "ge", "lt", "le"))
        else ""
    )
    return "; ".join(part for part in (fix, limit, meaning) if part) or "see ablations/demo.yaml"


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model that stands at ``path`` below ``model``, looking through lists and optionals."""
    here: Any = model
    for part in path:
        if isinstance(part, str):
            field = here.model_fields.get(part) if _is_model(here) else None
            here = field.annotation if field else None
        here = _inner(here)
    return here if _is_model(here) else None


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _inner(annotation: Any) -> Any:
    if get_origin(annotation) in (tuple, list, Union, types.UnionType):
        return next((arg for arg in map(_inner, get_args(annotation)) if _is_model(arg)), None)
    return annotation

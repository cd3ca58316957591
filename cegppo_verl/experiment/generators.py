"""Several arms in one entry of a grid file: their values, parameters and names."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from pydantic import Field

from cegppo_verl.errors import did_you_mean
from cegppo_verl.experiment.places import problem
from cegppo_verl.experiment.validation import Strict
from cegppo_verl.experiment.yaml_file import Document, KeyPath

GENERATORS = ("product", "zip", "star")
SETTING = "settings."

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

Values = dict[str, Any]
Paths = dict[str, KeyPath]


class Star(Strict):
    """One factor at a time around a centre."""

    centre: dict[str, Any] = Field(default={}, description="a value for every factor, and what is fixed")
    factors: dict[str, list[Any]] = Field(default={}, description="for each factor its other values")


class Generator(Strict):
    """Several arms in one entry."""

    name: str = Field(description="a pattern with {parameter} where a value goes, e.g. beta-{beta1}")
    algorithm: str | None = Field(default=None, description="of all these arms, unless it is varied too")
    params: dict[str, Any] = Field(default={}, description="parameters that all these arms share")
    settings: dict[str, Any] = Field(default={}, description="settings that all these arms share")
    priority: int | None = Field(default=None, description="larger starts first; default: the grid's")
    product: dict[str, list[Any]] | None = Field(default=None, description="every combination")
    zip: dict[str, list[Any]] | None = Field(default=None, description="lists of equal length, row by row")
    star: Star | None = Field(default=None, description="one factor at a time around a centre")


def same(one: Any, other: Any) -> bool:
    """Equal, and not merely as true equals 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def written_out(
    generator: Generator, document: Document, path: KeyPath
) -> Iterator[tuple[dict[str, Any], Paths]]:
    """Every arm of a generator at ``path``, as an explicit entry, and where its varied values stand.

    Raises:
        UserError: a name pattern with something that is not varied, or no algorithm.
    """
    for values, varied in _points(generator):
        yield _arm(generator, values, document, path), {_below(key): at for key, at in varied.items()}


def size(generator: Generator) -> int:
    """How many arms a generator writes out, at most; cheap however many."""
    if generator.star:
        return 1 + sum(len(values) for values in generator.star.factors.values())
    rows = max((len(values) for values in (generator.zip or {}).values()), default=1)
    return rows * math.prod(len(values) for values in (generator.product or {}).values())


def _points(generator: Generator) -> Iterator[tuple[Values, Paths]]:
    if generator.star:
        yield from _star_points(generator.star)
        return
    rows = _rows(generator.zip)
    grid = [[(key, value, ("product", key, i)) for i, value in enumerate(values)]
            for key, values in (generator.product or {}).items()]  # fmt: skip
    for row in rows:
        for combination in itertools.product(*grid):
            chosen = [*row, *combination]
            yield {key: value for key, value, _ in chosen}, {key: at for key, _, at in chosen}


def _rows(columns: Mapping[str, list[Any]] | None) -> list[list[tuple[str, Any, KeyPath]]]:
    if not columns:
        return [[]]
    length = len(next(iter(columns.values())))
    return [[(key, values[i], ("zip", key, i)) for key, values in columns.items()] for i in range(length)]


def _star_points(star: Star) -> Iterator[tuple[Values, Paths]]:
    centre: Paths = {key: ("star", "centre", key) for key in star.centre}
    yield star.centre, centre
    for key, values in star.factors.items():
        for index, value in enumerate(values):
            if not same(value, star.centre[key]):
                yield {**star.centre, key: value}, {**centre, key: ("star", "factors", key, index)}


def _arm(generator: Generator, values: Values, document: Document, path: KeyPath) -> Values:
    settings = dict(generator.settings)
    for key, value in values.items():
        if key.startswith(SETTING):
            _put(settings, key.removeprefix(SETTING).split("."), value)
    params = {key: value for key, value in values.items() if _is_param(key)}
    algorithm = values.get("algorithm", generator.algorithm)
    if algorithm is None:
        hint = "add 'algorithm: <name>'; `cegppo losses` lists them"
        raise problem("this key is required", document, (*path, "algorithm"), hint)
    arm: Values = {"name": _name(generator, values, document, path), "algorithm": algorithm}
    arm |= {"params": {**generator.params, **params}, "settings": settings}
    return arm | ({} if generator.priority is None else {"priority": generator.priority})


def _is_param(key: str) -> bool:
    return key != "algorithm" and not key.startswith(SETTING)


def _below(key: str) -> str:
    return f"params.{key}" if _is_param(key) else key


def _put(settings: Values, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = settings.get(key)
        settings[key] = dict(inner) if isinstance(inner, dict) else {}
        settings = settings[key]
    settings[keys[-1]] = value


def _name(generator: Generator, values: Values, document: Document, path: KeyPath) -> str:
    def shown(match: re.Match[str]) -> str:
        if match[1] not in values:
            hint = did_you_mean(match[1], values)
            raise problem(f"nothing called '{match[1]}' is varied here", document, (*path, "name"), hint)
        return text(values[match[1]])

    name = _PLACEHOLDER.sub(shown, generator.name)
    if generator.star and name == generator.name:
        return name + _away(generator.star, values)
    return name


def _away(star: Star, values: Values) -> str:
    """The end of a star's arm whose name is no pattern: which factor, and its value; none at the centre."""
    moved = (key for key in star.factors if not same(values[key], star.centre[key]))
    return "".join(f"-{key.removeprefix(SETTING)}-{text(values[key])}" for key in moved)


def text(value: Any) -> str:
    """A value as a part of a name: lower case, no sign or blank where it can be avoided."""
    if isinstance(value, Mapping):
        return "-to-".join(text(later) for later in value.values())
    if value is None or isinstance(value, bool):
        return {None: "off", True: "true", False: "false"}[value]
    if isinstance(value, int | float) and value < 0:
        return f"m{text(-value)}"  # a minus would double the one that joins the parts
    if isinstance(value, float):
        return _number(value)
    return str(value)


def _number(value: float) -> str:
    """``0.5``, ``1``, ``1e-06``, ``1e9``: nothing that is no letter, digit, point or inner minus."""
    if abs(value) < 1e6 or not math.isfinite(value):
        return repr(value).removesuffix(".0")
    return str(Decimal(repr(value)).normalize()).lower().replace("+", "")

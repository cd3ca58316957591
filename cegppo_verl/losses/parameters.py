"""How a loss declares its hyper-parameters: name, range, unit, default and where the default comes from.

A loss writes one frozen dataclass of :func:`param` fields on top of :class:`Parameters`. Grid files, verl's
configuration, ``cegppo losses`` and the generated index all read that one declaration. No torch is needed to
read it: a login node that plans a grid has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

Value = float | str | None


@dataclass(frozen=True)
class Param:
    """One hyper-parameter.

    Args:
        symbol: as in the paper, e.g. β1. doc: what it is, in a few words.
        low, high: the range, [low, high]; high = ∞ means no upper end. ``open_low``: without low itself.
        source: where the default, or the range when there is no default, comes from.
        unit: what a number means, e.g. "distance from 1", "log-ratio in nats".
        nullable: None is a value and means "off".
        choices: the allowed words, for a parameter that is a word; low and high are not used then.
        required: there is no default. example: a value that the error for a missing one suggests.
        why: from a value outside the range to what was probably meant, with the fix.
    """

    symbol: str
    doc: str
    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    source: str = ""
    unit: str = ""
    nullable: bool = False
    choices: tuple[str, ...] = ()
    required: bool = False
    default: Value = None
    example: Value = None
    why: Callable[[float], str] | None = None

    def problem(self, value: object) -> str:
        """What is wrong with a value, as the end of a sentence that starts with its name; "" if nothing."""
        if value is None and self.nullable:
            return ""
        if self.choices:
            return "" if value in self.choices else f"must be one of {', '.join(self.choices)}, got {value!r}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            return f"must be a number in {self.interval}, got {value!r}"
        inside = (self.low < value or (value == self.low and not self.open_low)) and value <= self.high
        return "" if inside else f"must be a number in {self.interval}, got {value!r}"

    @property
    def interval(self) -> str:
        """The range in mathematical notation."""
        high = "∞)" if self.high == math.inf else f"{self.high:g}]"
        return f"{'(' if self.open_low else '['}{self.low:g}, {high}"


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def param(symbol: str, doc: str, *, default: Any = MISSING, **about: Any) -> Any:
    """A dataclass field that carries a :class:`Param`; without ``default`` the parameter is required."""
    required = default is MISSING
    spec = Param(symbol, doc, required=required, default=None if required else default, **about)
    return field(default=default, metadata={"param": spec}, kw_only=True)


def specs(params: type[Any]) -> dict[str, Param]:
    """The parameters of a loss by name, in the order of their declaration."""
    return {item.name: _spec(item) for item in fields(params)}


def _spec(item: Field[Any]) -> Param:
    return item.metadata["param"]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Base of every loss's parameters: each is checked against its range on construction.

    Raises:
        ValueError: a parameter outside its range, or two that do not go together, naming them.
    """

    def __post_init__(self) -> None:
        for name, spec in specs(type(self)).items():
            problem = spec.problem(getattr(self, name))
            if problem:
                raise ValueError(f"{name} {problem}")
        self.check()

    def check(self) -> None:
        """Raise ValueError where parameters that are fine one by one do not go together."""

    def as_dict(self) -> dict[str, Value]:
        """Names and values."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def why_epsilon(value: float) -> str:
    """What an ε outside its range most likely is."""
    if value > 2:
        return f"ε is a distance from 1, not a percentage: write {value / 100:g} for {value:g} %"
    if value > 1:
        return f"ε is a distance from 1, not a bound: write {value - 1:.3g} for the bound {value:g}"
    if value > 0.5:
        return "the lower edge 1 - ε must stay above 0; token-level losses use about 0.2"
    if 0 < value < EPSILON_LOWEST:
        return "ε of 1e-4 belongs to sequence-level ratios (GSPO); token-level losses use about 0.2"
    return "token-level losses use about 0.2"


# Below this nearly every token is clipped. GSPO's 3e-4/4e-4 (arXiv 2507.18071) are for sequence ratios.
EPSILON_LOWEST = 1e-3
DISTANCE = "distance from 1 of the token ratio δ"


def epsilon_low(default: float = 0.2, source: str = "arXiv 1707.06347") -> Any:
    """ε_low of a token-level loss: the interval's lower edge is 1 − ε_low."""
    return param(
        "ε_low",
        "lower distance of the clip interval from 1",
        default=default,
        source=source,
        low=EPSILON_LOWEST,
        high=0.999,  # the lower edge must stay above 0
        unit=DISTANCE,
        why=why_epsilon,
    )


def epsilon_high(default: float = 0.2, source: str = "arXiv 1707.06347") -> Any:
    """ε_high of a token-level loss: the interval's upper edge is 1 + ε_high."""
    # A wide upper side is a legal ablation (CISPO leaves one side open); two-digit values are percentages.
    return param(
        "ε_high",
        "upper distance of the clip interval from 1",
        default=default,
        source=source,
        low=EPSILON_LOWEST,
        high=5.0,
        unit=DISTANCE,
        why=why_epsilon,
    )


def dual_clip(default: float | None, source: str, *, nullable: bool = True) -> Any:
    """c of the dual clip (arXiv 1912.09729): tokens with Â < 0 and δ > c get no gradient."""
    return param(
        "c",
        "dual clip: tokens with Â<0 and a ratio above c get no gradient",
        default=default,
        source=source,
        low=1.0,
        open_low=True,
        unit="token ratio δ",
        nullable=nullable,
        why=lambda _: "the dual clip c is a ratio above 1, e.g. 3 (verl's default) or 10 (CE-GPPO's scripts)",
    )


def from_values(params: type[Any], values: Mapping[str, Any]) -> Any:
    """Parameters from a mapping; a missing or unknown name is a ValueError that names it."""
    known = specs(params)
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ValueError(f"unknown parameter {unknown[0]}; there are: {', '.join(known) or 'none'}")
    missing = [name for name, spec in known.items() if spec.required and values.get(name) is None]
    if missing:
        raise ValueError(f"{missing[0]} is required: {known[missing[0]].doc}")
    return params(**values)

"""Numbers of a study as its report prints them."""

from __future__ import annotations

import math

from cegppo_verl.experiment.claims import Measure
from cegppo_verl.reporting import text
from cegppo_verl.reporting.claims.measures import MEASURES
from cegppo_verl.stats import Interval


def number(value: float, sign: bool = False) -> str:
    """Three digits or so."""
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return text.signed(value, digits) if sign else text.number(value, digits)


def interval(found: Interval, factor: float = 1.0) -> str:
    """``+0.123 [−0.010, +0.256]``, or what is missing."""
    if math.isnan(found.low):
        return f"{number(factor * found.point, True)} [no interval]"
    ends = ", ".join(number(factor * end, True) for end in (found.low, found.high))
    return f"{number(factor * found.point, True)} [{ends}]"


def meaning(measure: Measure) -> str:
    """What is measured, and over which steps where the file says so."""
    steps = f", steps {measure.steps[0]} to {measure.steps[1]}" if measure.steps else ""
    return MEASURES[measure.of].meaning + steps


def table(titles: str, rows: list[str]) -> str:
    """A Markdown table. ``titles``: "name|name:|…", a colon for numbers."""
    names = titles.split("|")
    head = " | ".join(name.rstrip(":") for name in names)
    line = "|".join("--:" if name.endswith(":") else "---" for name in names)
    return "\n".join([f"| {head} |", f"|{line}|", *rows])

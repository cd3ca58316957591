"""The curve on a terminal: Â > 0 and Â < 0 side by side, PPO-clip dotted behind, one scale."""

from __future__ import annotations

import numpy as np
from rich.columns import Columns
from rich.text import Text

from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import specs
from cegppo_verl.reporting.losses import axes, entries
from cegppo_verl.reporting.losses.braille import Canvas
from cegppo_verl.reporting.losses.curves import ENTROPY, Curve, ppo_clip

ROWS = 14
_GUTTER = 5  # "  10 " before the axis
_WIDEST, _SLIMMEST = 56, 24


def panels(drawn: list[Curve], width: int) -> Columns:
    """Both signs; one below the other where the terminal is too narrow for two."""
    columns = max(_SLIMMEST, min(_WIDEST, width // 2 - _GUTTER - 3))
    low = axes.bottom(drawn)
    ppo = ppo_clip()
    both = [
        ("Â > 0", "blue", [c.positive for c in drawn], ppo.positive),
        ("Â < 0", "red", [c.negative for c in drawn], ppo.negative),
    ]
    texts = [
        _panel(title, colour, drawn, values, reference, low, columns)
        for title, colour, values, reference in both
    ]
    return Columns(texts, padding=(0, 2))


def _panel(
    title: str,
    colour: str,
    drawn: list[Curve],
    values: list[np.ndarray],
    reference: np.ndarray,
    low: float,
    columns: int,
) -> Text:
    canvas, behind = Canvas(columns, ROWS), Canvas(columns, ROWS)
    behind.line(axes.across(ppo_clip().log_ratio), axes.upwards(reference, low), dotted=True)
    for index, (curve, w) in enumerate(zip(drawn, values, strict=True)):
        canvas.line(axes.across(curve.log_ratio), axes.upwards(w, low), dotted=index > 0)
    text = Text(f"{' ' * _GUTTER}w for {title}\n")
    ticks = _weight_ticks(low)
    for row in range(ROWS):
        text.append(f"{ticks.get(row, ''):>{_GUTTER - 1}}┤" if row in ticks else f"{'':{_GUTTER - 1}}│")
        for column in range(columns):
            _cell(text, canvas.cell(row, column), behind.cell(row, column), colour)
        text.append("\n")
    text.append(_ratio_axis(columns))
    return text


def _cell(text: Text, curve: str, reference: str, colour: str) -> None:
    if curve:
        text.append(curve, style=f"bold {colour}")
    else:
        text.append(reference or " ", style="dim")


def _weight_ticks(low: float) -> dict[int, str]:
    """Labels by row, the lowest of a row winning so that 0 is never lost."""
    ticks = {}
    for w in sorted(axes.WEIGHT_TICKS, key=lambda tick: tick == 0):
        if w >= low:
            ticks[_row(w, low)] = f"{w:g}"
    return ticks


def _row(w: float, low: float) -> int:
    return min(ROWS - 1, int((1 - float(axes.upwards(w, low))) * (4 * ROWS - 1)) // 4)


def _ratio_axis(columns: int) -> str:
    marks, labels = ["─"] * columns, [" "] * (columns + 2)
    for ratio in axes.RATIO_TICKS:
        place = min(columns - 1, round(float(axes.across(np.log(ratio))) * (columns - 1)))
        marks[place] = "┴"
        word = f"{ratio:g}"
        start = max(0, min(place - len(word) // 2, columns + 1 - len(word)))
        labels[start : start + len(word)] = word
    indent = " " * (_GUTTER - 1)
    return f"{indent}└{''.join(marks)}\n{indent} {''.join(labels).rstrip()} δ\n"


def caption(loss: Loss, example: entries.Example, drawn: list[Curve]) -> str:
    """What the curve was computed with, in words."""
    lines = [
        "w as weight(tokens, params) returns it; δ logarithmic, w linear below 0.1 and logarithmic above.",
        "Dotted grey: PPO-clip with ε = 0.2, no dual clip.",
        values(loss, example),
        state(loss, drawn),
    ]
    return "\n".join(line for line in lines if line)


def values(loss: Loss, example: entries.Example) -> str:
    """The parameters of the curve, and which of them only illustrate."""
    known = specs(loss.params)
    given = ", ".join(f"{known[name].symbol} = {entries.shown(v)}" for name, v in example.values.items())
    if not example.illustrative:
        return f"Drawn with {given}." if given else ""
    names = ", ".join(example.illustrative)
    return f"Drawn with {given}. Only to illustrate (required, no default): {names}; set with --param."


def state(loss: Loss, drawn: list[Curve]) -> str:
    """The state of the tokens, as far as the loss looks at it."""
    parts = ["Responses of one token, Â = ±1"]
    if len(drawn) > 1:
        others = " and ".join(f"{c.old_prob:g}" for c in drawn[1:])
        parts.append(f"w depends on π_old: full line {drawn[0].old_prob:g}, dotted {others} (up to π_θ = 1)")
    if loss.needs:
        parts.append(f"entropies {ENTROPY:g} nat before and after")
    if loss.statistics or loss.controller:
        parts.append("parameters at their starting values: training changes them")
    return "; ".join(parts) + "."

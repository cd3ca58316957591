"""``cegppo losses`` and ``cegppo losses NAME`` on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cegppo_verl.errors import UserError
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import Param, specs
from cegppo_verl.reporting.losses import curves, entries, plot

_NARROW, _LEFT = 60, 24


def listing(losses: Mapping[str, Loss]) -> Table:
    """All losses: paper, whose code, w per sign, parameters with ranges and sources, needs, departures."""
    table = Table(show_lines=True, expand=True, title="Losses", title_justify="left")
    table.add_column("loss", width=_LEFT, overflow="fold")
    table.add_column("gradient weight w of Â·∇log π, parameters, remarks", ratio=1, overflow="fold")
    for name, loss in losses.items():
        table.add_row(_head(name, loss), _body(loss))
    return table


def explanation(name: str, loss: Loss, example: entries.Example, width: int) -> list[RenderableType]:
    """The formula, every parameter, and the curve; where there is no curve, why."""
    parts: list[RenderableType] = [
        _head(name, loss),
        Text(loss.summary + "\n"),
        _formula(entries.formula(loss, name)),
        parameters(loss),
        _body(loss, with_parameters=False),
        Text(),
        *_drawing(loss, example, width),
    ]
    return parts


def parameters(loss: Loss) -> RenderableType:
    """A row per parameter: symbol and name, default and range, meaning, unit and source."""
    known = specs(loss.params)
    if not known:
        return Text("It has no parameters.\n")
    table = Table(title="Parameters", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", overflow="fold", min_width=12)
    table.add_column("default, range", overflow="fold", min_width=16)
    table.add_column("meaning", overflow="fold")
    for name, spec in known.items():
        label = f"{spec.symbol}\n{name}" if spec.symbol != name else name
        meaning = "\n".join(filter(None, (spec.doc, spec.unit, f"source: {entries.source(spec)}")))
        table.add_row(*map(escape, (label, f"{_default(spec)}\n{entries.allowed(spec)}", meaning)))
    return table


def _default(spec: Param) -> str:
    if not spec.required:
        return entries.shown(spec.default)
    return "required" + (f", e.g. {entries.shown(spec.example)}" if spec.example is not None else "")


def _formula(text: str) -> Text:
    """Prose in lines as long as the terminal's; what is indented stays as it was written."""
    blocks = text.split("\n\n")
    flowing = [b if "\n " in b or b.startswith(" ") else " ".join(b.split("\n")) for b in blocks]
    return Text("\n\n".join(flowing) + "\n")


def _head(name: str, loss: Loss) -> Text:
    text = Text()
    text.append(name + "\n", style="bold")
    text.append(f"{loss.title}\n{loss.paper}\n{loss.equation}\n")
    text.append(f"runs: {entries.whose(loss)}")
    return text


def _body(loss: Loss, *, with_parameters: bool = True) -> Text:
    text = Text()
    _line(text, "Â > 0", loss.positive)
    _line(text, "Â < 0", loss.negative)
    for name, spec in specs(loss.params).items() if with_parameters else ():
        unit = f"; {spec.unit}" if spec.unit else ""
        _line(text, entries.setting(name, spec), f"{entries.allowed(spec)}{unit}; {entries.source(spec)}")
    if entries.needs(loss):
        _line(text, "needs", ", ".join(entries.needs(loss)))
    if loss.departures:
        _line(text, "departs", loss.departures)
    text.rstrip()
    return text


def _line(text: Text, label: str, words: str) -> None:
    text.append(label, style="bold cyan")
    text.append(f"  {words}\n")


def _drawing(loss: Loss, example: entries.Example, width: int) -> list[RenderableType]:
    if loss.weight is None:
        return [Text(f"No curve: {curves.why_no_curve(loss)}.")]
    try:
        drawn = curves.curves(loss, entries.build(loss, example.values))
    except UserError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        return [Text(f"No curve: {error}")]
    return [plot.panels(drawn, width), Text(plot.caption(loss, example, drawn))]


def show(name: str, given: Mapping[str, Any], console: Console) -> None:
    """Explain one loss.

    Raises:
        UserError: no such loss, or wrong parameters.
    """
    loss = entries.find(name)
    shown = explanation(name, loss, entries.example(loss, given), console.width)
    console.print(Group(*shown), highlight=False)

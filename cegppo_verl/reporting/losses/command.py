"""``cegppo losses``: what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from cegppo_verl.errors import UserError
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.records import atomic
from cegppo_verl.reporting.losses import entries, terminal


def run(
    name: str | None, params: Sequence[str], figure: Path | None, page: Path | None, console: Console
) -> None:
    """List all losses, explain one, draw one, or write the page.

    Raises:
        UserError: no such loss, wrong parameters, a combination without meaning, or a file not writable.
    """
    _check_combination(name, params, figure, page)
    given = dict(map(pair, params))
    if page is not None:
        from cegppo_verl.reporting.losses import page as pages  # draws: matplotlib takes a second

        for path in pages.write(page):
            console.print(Text(f"wrote {path}"), soft_wrap=True)
    elif name is None:
        console.print(terminal.listing(LOSSES))
        console.print("[bold]cegppo losses NAME[/] explains one and draws its curve.", highlight=False)
    else:
        terminal.show(name, given, console)
        if figure is not None:
            _draw(name, given, figure)
            console.print(Text(f"wrote {figure}"), soft_wrap=True)


def _check_combination(
    name: str | None, params: Sequence[str], figure: Path | None, page: Path | None
) -> None:
    if page is not None and (name is not None or figure is not None or params):
        raise UserError(
            "the page is of all losses", key="--page", hint="leave the name and other options out"
        )
    if name is None and (figure is not None or params):
        key = "--figure" if figure is not None else "--param"
        raise UserError("which loss?", key=key, hint="cegppo losses NAME; the list: cegppo losses")


def pair(text: str) -> tuple[str, Any]:
    """``beta1=0.5`` as a name and a value: a number, None for "off", or a word.

    Raises:
        UserError: it is not of that form.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UserError(f"'{text}' is not name=value", key="--param", hint="e.g. --param beta1=0.5")
    if value.lower() in ("off", "none", "null"):
        return name, None
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _draw(name: str, given: dict[str, Any], path: Path) -> None:
    from cegppo_verl.reporting.losses import figure, page

    form = path.suffix.removeprefix(".").lower()
    if form not in figure.FORMATS:
        hint = f"end it in {', '.join('.' + known for known in figure.FORMATS)}"
        raise UserError(f"cannot draw a '{path.suffix}' file", file=path, key="--figure", hint=hint)
    loss = entries.find(name)
    content = figure.one(page.drawing(loss, entries.example(loss, given)), [form])[form]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, content)
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror}", file=path, hint="choose another place"
        ) from error

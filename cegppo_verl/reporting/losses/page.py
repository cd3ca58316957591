"""The generated index of all losses: Markdown, one self-contained page, the family's figure.

The same code gives the same bytes: no clock, no commit, nothing random. ``cegppo losses --page`` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cegppo_verl.errors import UserError
from cegppo_verl.losses.loss import Loss
from cegppo_verl.losses.parameters import specs
from cegppo_verl.losses.registry import LOSSES
from cegppo_verl.records import atomic
from cegppo_verl.reporting import canvas, palette, text
from cegppo_verl.reporting.losses import curves, entries, figure, plot, verdicts
from cegppo_verl.reporting.losses.verdicts import Verdict

COMMAND = "cegppo losses --page reports/losses"


@dataclass(frozen=True)
class Row:
    """One loss in the index, everything as text."""

    name: str
    title: str
    paper: str
    equation: str
    code: str
    positive: str
    negative: str
    settings: tuple[str, ...]
    needs: tuple[str, ...]
    departures: str
    verdict: str
    no_curve: str
    drawn_with: str


def write(folder: Path, losses: Mapping[str, Loss] | None = None) -> list[Path]:
    """Write the page into ``folder``.

    Raises:
        UserError: torch is missing (the curves need it), or the folder cannot be written.
    """
    contents = build(LOSSES if losses is None else losses, verdicts.read(folder / verdicts.FILE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            atomic.write_bytes(folder / name, content)
    except OSError as error:
        hint = "make the folder writable, or choose another one"
        raise UserError(f"cannot write the page: {error.strerror}", file=folder, hint=hint) from error
    return [folder / name for name in contents]


def build(losses: Mapping[str, Loss], found: Mapping[str, Verdict]) -> dict[str, bytes]:
    """The files of the page by name, in memory: what :func:`write` writes and a test compares with."""
    examples = {name: entries.example(loss) for name, loss in losses.items()}
    drawings = {name: drawing(loss, examples[name]) for name, loss in losses.items() if loss.weight}
    pictures = figure.family(list(drawings.values()))
    rows = [_row(name, loss, examples[name], found.get(name)) for name, loss in losses.items()]
    inline = Markup(canvas.inline(pictures["svg"], "losses", ALT))  # our own figure
    return {
        "index.md": _render("losses.md.j2", rows=rows),
        "index.html": _render("losses.html.j2", rows=rows, figure=inline),
        "losses.svg": pictures["svg"],
        "losses.png": pictures["png"],
        "losses.json": _json(losses, examples),
    }


ALT = "Gradient weight w against δ, one panel per loss, a line for each sign of the advantage."


def drawing(loss: Loss, example: entries.Example) -> figure.Drawing:
    """The panel of a loss."""
    drawn = curves.curves(loss, entries.build(loss, example.values))
    known = specs(loss.params)
    chosen = [
        f"{known[name].symbol} = {entries.shown(example.values[name])}" for name in example.illustrative
    ]
    subtitle = f"e.g. {', '.join(chosen)}" if chosen else ""
    return figure.Drawing(_cut(loss.title, 27), _cut(subtitle, 46), drawn)


def _cut(words: str, limit: int) -> str:
    return words if len(words) <= limit else words[: limit - 1] + "…"


def _row(name: str, loss: Loss, example: entries.Example, verdict: Verdict | None) -> Row:
    return Row(
        name=name,
        title=loss.title,
        paper=loss.paper,
        equation=loss.equation,
        code=entries.whose(loss),
        positive=loss.positive,
        negative=loss.negative,
        settings=tuple(
            f"{entries.setting(n, s)} ({entries.source(s)})" for n, s in specs(loss.params).items()
        ),
        needs=tuple(entries.needs(loss)),
        departures=loss.departures,
        verdict=verdicts.UNCHECKED if verdict is None else verdict.shown(loss.version),
        no_curve="" if loss.weight else curves.why_no_curve(loss),
        drawn_with=plot.values(loss, example) if loss.weight else "",
    )


def _render(template: str, **values: Any) -> bytes:
    environment = Environment(
        loader=PackageLoader("cegppo_verl.reporting"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(md=text.markdown, visible=text.visible)
    page = environment.get_template(template)
    rendered = page.render(
        **values,
        command=COMMAND,
        checked=verdicts.COMMAND,
        alt=ALT,
        caption=CAPTION,
        count=len(values["rows"]),
        palette=palette,
    )
    return (rendered.strip() + "\n").encode("utf-8", "replace")


_OTHERS = " and ".join(f"{prob:g}" for prob in curves.OTHER_PROBS)
CAPTION = (
    "w of Â·∇log π against δ, both axes logarithmic (w linear below 0.1), computed by each loss's own weight "
    "function on responses of one token, with its default parameters; required ones as written above the "
    "panel, only to illustrate. Grey: PPO-clip with ε = 0.2 and no dual clip. Where w depends on π_old: "
    f"thick line π_old = {curves.REFERENCE_PROB:g}, thin ones {_OTHERS}, as far as π_θ ≤ 1. For "
    "sequence-level losses δ is the sequence's ratio. Entropies 1 nat before and after; parameters that "
    "training changes, at their starting values. All panels share their axes, but for losses with negative "
    "weights, whose w axis has labels of its own. Weights beyond the axis lie on its edge."
)


def _json(losses: Mapping[str, Loss], examples: Mapping[str, entries.Example]) -> bytes:
    """What the curves were drawn with, for programs."""
    state = {
        "old_prob": [curves.REFERENCE_PROB, *curves.OTHER_PROBS],
        "entropy": curves.ENTROPY,
        "advantages": [1, -1],
    }
    whole = {
        "command": COMMAND,
        "state": state,
        "losses": {
            name: {
                "version": loss.version,
                "parameters": examples[name].values,
                "illustrative": list(examples[name].illustrative),
                "runs": loss.runs,
                "curve": loss.weight is not None,
            }
            for name, loss in losses.items()
        },
    }
    return (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()

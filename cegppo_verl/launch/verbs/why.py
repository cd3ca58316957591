"""``cegppo why A B``: what differs between two cells, and whether it can change the numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog
from cegppo_verl.launch.board import duration
from cegppo_verl.launch.terminal_text import plain, say
from cegppo_verl.launch.verbs import control
from cegppo_verl.launch.verbs.targets import Finder, Target
from cegppo_verl.records.rundir import Json
from cegppo_verl.records.status import Status

# Of cell.json, what is not part of a cell's identity.
NAMES = ("id", "slug", "grid", "arm", "schema")
HARMLESS = ("settings.checkpoint.",)
# Of the manifest, what says when and how rather than with what.
CALLED = ("cell", "command", "schema", "git.diff", "engine")
ABSENT = "–"

Difference = tuple[str, Any, Any]


def run(
    a: str, b: str, scale: str | None, seeds: Sequence[int] | None, results: Path, console: Console
) -> None:
    """Say what differs between two cells: what they compute, with what they ran, and what came of it.

    Args:
        a, b: each an id, slug, run directory, or GRID#arm (at the first scale and seed that both have).

    Raises:
        UserError: a word names no cell.
    """
    one, two = _pair(Finder(results, scale, seeds), a, b)
    say(console, f"A  {one.slug}  {one.id}  {one.run.path}")
    say(console, f"B  {two.slug}  {two.id}  {two.run.path}")
    computing, harmless = split(differences(_content(one.cell), _content(two.cell)))
    _say_computing(one, two, computing, console)
    _show("differs, cannot change the numbers", harmless, console)
    provenance = differences(_provenance(one), _provenance(two))
    _show("code, versions, hardware", provenance, console)
    if not provenance and one.run.manifest() and two.run.manifest():
        say(console, "same code, versions and hardware")
    console.print(_attempts(one, two, results))


def _pair(finder: Finder, a: str, b: str) -> tuple[Target, Target]:
    """The cells; of arms with several, the first two of the same scale and seed."""
    ones, twos = finder.named(a), finder.named(b)
    if len(ones) == 1 and len(twos) == 1:
        return ones[0], twos[0]
    by_place = {_place(two): two for two in reversed(twos)}
    for one in ones:
        if (two := by_place.get(_place(one))) is not None:
            return one, two
    names = f"'{a}' names {len(ones)} cells, '{b}' {len(twos)}, and no two of the same scale and seed"
    raise UserError(names, hint="name cells by id or slug; `cegppo status GRID` lists them")


def _place(target: Target) -> tuple[Any, Any]:
    return target.cell.get("scale"), target.cell.get("seed")


def _content(cell: Json) -> Json:
    """What the cell computes, the definition of its scale included."""
    content = {k: v for k, v in cell.items() if k not in NAMES}
    with contextlib.suppress(UserError):  # a scale that this version does not have
        content["scale's"] = catalog.scale(str(cell.get("scale"))).identity()
    return content


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one, with dotted keys: ``settings.eval.benchmarks[0].samples``."""
    if isinstance(value, Mapping) and value:
        parts = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {path: value}
    return {key: leaf for name, item in parts for key, leaf in flatten(item, name).items()}


def differences(one: Any, two: Any) -> list[Difference]:
    """Keys whose values differ, each with both; a key that one side lacks has :data:`ABSENT` there."""
    left, right = flatten(one), flatten(two)
    keys = [*left, *(key for key in right if key not in left)]
    pairs = [(key, left.get(key, ABSENT), right.get(key, ABSENT)) for key in keys]
    return [(key, x, y) for key, x, y in pairs if x != y or type(x) is not type(y)]


def split(found: Sequence[Difference]) -> tuple[list[Difference], list[Difference]]:
    """Those that can change the numbers, and those that cannot."""
    harmless = [d for d in found if d[0].startswith(HARMLESS)]
    return [d for d in found if d not in harmless], harmless


def _say_computing(one: Target, two: Target, found: list[Difference], console: Console) -> None:
    if one.id == two.id:
        say(
            console, "nothing that can change the numbers differs: it is the same cell, whatever it is called"
        )
        return
    if found:
        _show("can change the numbers", found, console)
        return
    text = "the ids differ, the cells do not: a loss, the grader, the engine or the data have another version"
    say(console, f"{text} (or one was recorded by another version of cegppo-verl)")


def _provenance(target: Target) -> Json:
    return {k: v for k, v in flatten(target.run.manifest()).items() if not k.startswith(CALLED)}


def _show(title: str, found: Sequence[Difference], console: Console) -> None:
    if not found:
        return
    table = _table((title, "A", "B"))
    for key, one, two in found:
        table.add_row(plain(key), plain(one), plain(two))
    console.print(table)


def _attempts(one: Target, two: Target, results: Path) -> Table:
    table = _table(("attempts", "A", "B"))
    columns = [_lines(target, control.look(results, [target])[target.id]) for target in (one, two)]
    for key in columns[0] | columns[1]:
        table.add_row(plain(key), *(plain(column.get(key, ABSENT)) for column in columns))
    return table


def _lines(target: Target, status: Status) -> dict[str, str]:
    found = {"state": status.text(), "time of all attempts": duration(status.seconds)}
    if status.pace is not None:
        found["seconds per step"] = f"{status.pace:.1f}"
    for attempt in target.run.attempts():
        record = attempt.record()
        words = [record.get("outcome") or "no end recorded", record.get("cause"), record.get("executor")]
        origin = f"from step {record.get('resumed_from')}" if record.get("resumed_from") else None
        found[str(attempt.number)] = ", ".join(str(w) for w in (*words, origin, record.get("host")) if w)
    return found


def _table(titles: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table

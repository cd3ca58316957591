"""``cegppo status``: how far each cell is, from its files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.cost import gpus_of
from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.experiment.recorded import wanted
from cegppo_verl.launch.board import Board, Row, duration, number
from cegppo_verl.launch.board_table import state_text
from cegppo_verl.launch.terminal_text import counted, plain, say
from cegppo_verl.records.overview import Overview
from cegppo_verl.records.status import DONE, FAILED, LIVE, PLANNED, STATES, STOPPED, Status

MOST_CELLS = 60  # listed one by one; beyond that a line per arm
TROUBLED = (FAILED, STOPPED)


def run(
    grid: Path,
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    console: Console,
    *,
    everything: bool = False,
    failed: bool = False,
    as_json: bool = False,
) -> None:
    """Show how far each cell is, from its files; works while somebody else's runner is going.

    Args:
        everything: one line per cell however many there are, instead of one per arm beyond 60.
        failed: only cells that failed or were stopped, each with its cause.
        as_json: one JSON object on standard output, for scripts.

    Raises:
        UserError: the grid file is wrong.
    """
    cells = expand(load_grid(grid, scale=scale, seeds=seeds))
    states = Overview(results).look(wanted(cells))
    chosen = [c for c in cells if not failed or states[c.id].state in TROUBLED]
    if as_json:
        print(json.dumps(as_data(chosen, states), allow_nan=False))
        return
    board = Board()
    board.begin(cells, states)
    show(chosen, states, board, console, one_by_one=everything or failed or len(chosen) <= MOST_CELLS)


def show(
    cells: Sequence[Cell], states: Mapping[str, Status], board: Board, console: Console, *, one_by_one: bool
) -> None:
    """Print the table and the totals of ``board``."""
    if cells:
        console.print(_by_cell(cells, states, board) if one_by_one else _by_arm(cells, board))
    say(console, f"{counted(len(board.rows), 'cell')}: {board.summary()}")
    if any(row.state in LIVE for row in board.rows.values()) and (left := board.total_left()):
        say(console, f"time left {duration(left)}")


def _by_cell(cells: Sequence[Cell], states: Mapping[str, Status], board: Board) -> Table:
    left, why = _lefts(cells, board), [_why(states[cell.id]) for cell in cells]
    told = [title for title, texts in (("left", left), ("why", why)) if any(texts)]
    table = _table(("cell", "id", "state", "step", "accuracy", "entropy", *told), ("cell", "id", "why"))
    for cell, *rest in zip(cells, left, why, strict=True):
        row = board.rows[cell.id]
        shown = [f"{row.step}/{states[cell.id].total}", number(row.accuracy), number(row.entropy)]
        more = [text for title, text in zip(("left", "why"), rest, strict=True) if title in told]
        table.add_row(plain(cell.slug), plain(cell.id), _state(row), *map(plain, [*shown, *more]))
    return table


def _lefts(cells: Sequence[Cell], board: Board) -> list[str]:
    paces = board.paces()
    rows = [board.rows[cell.id] for cell in cells]
    return [duration(board.left(row, paces)) if row.state in LIVE else "" for row in rows]


def _state(row: Row) -> Any:
    row.phase = ""  # it has a column of its own here
    return state_text(row)


def _why(status: Status) -> str:
    if status.why is not None:
        return status.why
    if status.state in (PLANNED, DONE) or status.executor is None:
        return ""
    return f"{status.executor} {status.job}" if status.job else status.executor


def _by_arm(cells: Sequence[Cell], board: Board) -> Table:
    present = [state for state in STATES if any(row.state == state for row in board.rows.values())]
    table = _table(("arm", "scale", "cells", *present, "steps"), ("arm", "scale"))
    groups: dict[tuple[str, str], list[Row]] = {}
    for cell in cells:
        groups.setdefault((cell.arm, cell.scale), []).append(board.rows[cell.id])
    for (arm, scale), rows in groups.items():
        total = sum(row.cell.settings.total_steps for row in rows)
        counts = [sum(row.state == state for row in rows) for state in present]
        share = sum(row.step for row in rows) / total if total else 0.0
        numbers = [str(len(rows)), *(str(n) if n else "" for n in counts), f"{share:.0%}"]
        table.add_row(plain(arm), plain(scale), *map(plain, numbers))
    return table


def _table(titles: Sequence[str], left: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        aligned: Literal["left", "right"] = "left" if title in (*left, "state") else "right"
        if title == "cell":  # on a narrow terminal the names give way, not the numbers
            table.add_column(title, overflow="ellipsis", min_width=8)
        else:
            table.add_column(title, justify=aligned, no_wrap=title != "why")
    return table


def as_data(cells: Sequence[Cell], states: Mapping[str, Status]) -> dict[str, Any]:
    """What ``--json`` prints: ``{"schema": 1, "states": {state: count}, "cells": [...]}``; NaN as null."""
    rows = [_cell_data(cell, states[cell.id]) for cell in cells]
    counts = {state: sum(row["state"] == state for row in rows) for state in STATES}
    return {"schema": 1, "states": {s: n for s, n in counts.items() if n}, "cells": rows}


def _cell_data(cell: Cell, status: Status) -> dict[str, Any]:
    plain_status = {k: v for k, v in asdict(status).items() if k != "last"}
    last = {k: v if math.isfinite(v) else None for k, v in status.last.items()}
    names = {"id": cell.id, "slug": cell.slug, "arm": cell.arm, "scale": cell.scale, "seed": cell.seed}
    return {**names, **plain_status, "last": last, "gpu_hours": gpus_of(cell) * status.seconds / 3600}

"""A board as a table: what a person sees of a grid, in the runner's terminal and in anybody's."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from cegppo_verl.launch.board import Board, Row, duration, number
from cegppo_verl.launch.terminal_text import plain, visible
from cegppo_verl.records.status import DONE, LIVE, RUNNING

COLOURS = {"done": "green", "running": "cyan", "stalled": "yellow", "failed": "red", "planned": "dim"}
COLOURS |= {"queued": "blue", "stopped": "magenta"}
BAR = 6  # characters
LEFT = ("cell", "state")


def table(board: Board, most: int, hint: str | None = None) -> Table:
    """Up to ``most`` rows and a caption with the totals.

    Args:
        hint: appended to the caption while there is something left to do.
    """
    rows = board.worth_showing(most)
    device = any(r.last.get("mfu") for r in rows)
    drawn = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left", caption_style="dim")
    for title in _titles(device):
        if title == "cell":  # on a narrow terminal the names give way, not the numbers
            drawn.add_column(title, overflow="ellipsis", min_width=8)
        else:
            drawn.add_column(title, justify="left" if title in LEFT else "right", no_wrap=True)
    paces = board.paces()
    for row in rows:
        drawn.add_row(*_cells(row, board.left(row, paces), device))
    drawn.caption = Text("\n").join(plain(line) for line in _caption(board, rows, hint))
    return drawn


def _titles(device: bool) -> list[str]:
    common = ["cell", "state", "step", "accuracy", "train", "entropy", "s/step", "left"]
    return [*common, "GiB", "MFU"] if device else common


def _caption(board: Board, rows: Sequence[Row], hint: str | None) -> list[str]:
    hidden = len(board.rows) - len(rows)
    lines = [f"… and {hidden} others"] if hidden else []
    lines.append(board.summary())
    left = board.total_left()
    if left:
        lines.append(f"time left {duration(left)}" + (f"  ({hint})" if hint else ""))
    return lines


def _cells(row: Row, left: float | None, device: bool) -> list[Text]:
    pace = row.per_step()
    common = [
        plain(row.cell.slug),
        state_text(row),
        plain(f"{bar(row.step, row.cell.settings.total_steps)} {row.step}/{row.cell.settings.total_steps}"),
        plain(number(row.accuracy)),
        plain(number(row.train_score)),
        plain(number(row.entropy)),
        plain("–" if pace is None else f"{pace:.1f}"),
        plain("" if row.state == DONE else duration(left)),
    ]
    if not device:
        return common
    return [*common, plain(_of(row, "memory_gb", ".1f")), plain(_of(row, "mfu", ".1%"))]


def state_text(row: Row) -> Text:
    """The state; of a running cell what it is busy with."""
    busy = row.state in LIVE and row.phase
    waiting = f" {duration(time.monotonic() - row.started)}" if busy and row.started is not None else ""
    words = f"{row.phase}{waiting}" if busy and row.state == RUNNING else row.state
    return plain(words, COLOURS.get(row.state, "white"))


def bar(step: int, total: int) -> str:
    """``██▌···``: the share of the steps done."""
    eighths = round(8 * BAR * min(max(step / total, 0.0), 1.0)) if total else 0
    part = " ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else ""
    return ("█" * (eighths // 8) + part).ljust(BAR, "·")


def _of(row: Row, name: str, form: str) -> str:
    value = row.last.get(name)
    return "–" if value is None or not math.isfinite(value) else format(value, form)


__all__ = ["COLOURS", "bar", "state_text", "table", "visible"]

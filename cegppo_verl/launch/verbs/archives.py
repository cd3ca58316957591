"""``cegppo pack`` and ``unpack``: the records of a grid's finished runs in one file, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.launch import planning
from cegppo_verl.launch.cells import run_dir, statuses
from cegppo_verl.launch.terminal_text import counted, say
from cegppo_verl.records import archive
from cegppo_verl.records.status import DONE


def pack(
    grid: Path, scale: str | None, seeds: Sequence[int] | None, results: Path, out: Path, console: Console
) -> None:
    """Write ``out/<grid>__<scale>.tar.xz`` for each scale that has finished runs of its own.

    Raises:
        UserError: the grid file is wrong, no run is finished, or ``out`` cannot be written.
    """
    loaded, cells = planning.load(grid, scale, seeds)
    states = statuses(cells, results)
    done = [cell for cell in cells if states[cell.id].state == DONE]
    packed = 0
    for name in loaded.scales:
        runs = [run_dir(cell, results).path for cell in done if cell.scale == name]
        own = [
            run for run in runs if run.parent.name == loaded.name
        ]  # others are in their own grid's archive
        if own:
            packed += len(own)
            _write(own, results, out / f"{loaded.name}__{name}{archive.ENDING}", console)
    if not packed:
        raise UserError("no run of it is finished", file=grid, hint=f"run it first: cegppo run {grid}")


def _write(runs: Sequence[Path], results: Path, file: Path, console: Console) -> None:
    try:
        archive.pack(runs, results, file)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=file, hint="choose --out") from error
    say(console, f"{file}: {counted(len(runs), 'run')}, {file.stat().st_size / 1e6:.1f} MB")


def unpack(files: Sequence[Path], results: Path, console: Console) -> None:
    """Put the records of archives below ``results``; what is there already is left.

    Raises:
        UserError: not an archive, or a record there that differs.
    """
    for file in files:
        say(console, f"{file}: {counted(archive.unpack(file, results), 'file')} restored")

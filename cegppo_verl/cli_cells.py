"""The verbs about cells that run or ran: everything from files, so from any machine that sees them."""

from __future__ import annotations

from typing import Annotated

import typer

from cegppo_verl.cli_options import RESULTS, Arms, GridFile, Results, Scale, Seeds, Word, Words, console


def status(
    grid: GridFile,
    scale: Scale = None,
    seed: Seeds = None,
    results: Results = RESULTS,
    everything: Annotated[bool, typer.Option("--all", help="A line per cell, however many.")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only failed and stopped ones, with causes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False,
) -> None:
    """Show how far each cell is, from its files; works while somebody else's runner is going."""
    from cegppo_verl.launch.verbs import status as verb

    verb.run(grid, scale, seed, results, console, everything=everything, failed=failed, as_json=as_json)


def watch(
    grid: GridFile,
    scale: Scale = None,
    seed: Seeds = None,
    results: Results = RESULTS,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show it once.")] = False,
) -> None:
    """Watch a grid that anybody runs: progress, time left, GPUs, last accuracy and entropy."""
    from cegppo_verl.launch.verbs import watch as verb

    verb.run(grid, scale, seed, results, console, every=every, once=once)


def logs(
    cell: Word,
    scale: Scale = None,
    seed: Seeds = None,
    results: Results = RESULTS,
    attempt: Annotated[int | None, typer.Option(min=1, help="Of this attempt; default: the newest.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while the cell is executed.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=0, help="Only the last so many.")] = None,
) -> None:
    """Print what a cell's driver and workers wrote."""
    from cegppo_verl.launch.verbs import logs as verb

    verb.run(cell, scale, seed, results, console, attempt=attempt, follow=follow, lines=lines)


def stop(
    cells: Words,
    scale: Scale = None,
    seed: Seeds = None,
    results: Results = RESULTS,
    arm: Arms = None,
    why: Annotated[str | None, typer.Option(help="The reason, kept with the cell.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when everything has ended.")] = False,
) -> None:
    """Stop cells, whoever runs them: attempts end in order, and nobody starts them before `retry`."""
    from cegppo_verl.launch.verbs import stop as verb

    raise typer.Exit(verb.run(cells, scale, seed, results, console, arms=arm, why=why, wait=wait))


def retry(
    cells: Words, scale: Scale = None, seed: Seeds = None, results: Results = RESULTS, arm: Arms = None
) -> None:
    """Give failed or stopped cells another set of tries; they resume from their last checkpoint."""
    from cegppo_verl.launch.verbs import retry as verb

    raise typer.Exit(verb.run(cells, scale, seed, results, console, arms=arm))


def why(a: Word, b: Word, scale: Scale = None, seed: Seeds = None, results: Results = RESULTS) -> None:
    """Say what differs between two cells: what they compute, with what they ran, what came of it."""
    from cegppo_verl.launch.verbs import why as verb

    verb.run(a, b, scale, seed, results, console)


def register(app: typer.Typer) -> None:
    """Put the verbs into the command."""
    for verb in (status, watch, logs, stop, retry, why):
        app.command()(verb)

"""``cegppo bench``: what things cost here, both sides in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cegppo_verl.cli_options import console

app = typer.Typer(no_args_is_help=True, help="Measure; both sides in one run, ratios printed.")


@app.command()
def loss(
    batch: Annotated[int, typer.Option(min=1, help="Sequences.")] = 64,
    length: Annotated[int, typer.Option(min=1, help="Tokens per sequence.")] = 16_384,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; each runs every side once.")] = 15,
    device: Annotated[str, typer.Option(help="cpu, or cuda to measure there too.")] = "cpu",
) -> None:
    """CE-GPPO's loss against verl's vanilla and Eq. 8 written literally, and every other loss; one core."""
    from cegppo_verl.bench import loss as measured

    measured.bench_loss(batch, length, repeats, device)


@app.command()
def runner(
    cells: Annotated[int, typer.Option(min=1, help="Cells of the measured grid.")] = 10_000,
    ray: Annotated[bool, typer.Option(help="Sleeping jobs on a real local Ray cluster, too.")] = True,
) -> None:
    """Plan and status of a large grid, an idle runner, and makespan over its lower bound (minutes)."""
    from cegppo_verl.bench import runner as measured

    measured.main(console, cells, with_ray=ray)


@app.command()
def coverage() -> None:
    """How often 95 % intervals hold the truth, and how often "best" is wrong, by simulation (minutes)."""
    from cegppo_verl.bench import coverage as measured

    measured.main([])


@app.command()
def startup(
    out: Annotated[Path | None, typer.Option(help="Write the measurements there as JSON.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating repetitions of both sides.")] = 1,
) -> None:
    """From the command to the first finished step, and seconds per step, against plain verl (minutes)."""
    from cegppo_verl.bench import startup as measured

    measured.main(console, rounds=rounds, out=out)


@app.command()
def overhead(
    rounds: Annotated[int, typer.Option(min=1, help="Alternating repetitions of both sides.")] = 2,
    steps: Annotated[int, typer.Option(min=3, help="Training steps of each run.")] = 16,
) -> None:
    """Seconds per step of a real cell under `cegppo run`, and of its command by itself (minutes)."""
    from cegppo_verl.bench import overhead as measured

    measured.main(console, rounds, steps)


@app.command()
def grading(
    items: Annotated[int, typer.Option(min=1, help="Responses per mixture.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating repetitions of both sides.")] = 10,
) -> None:
    """Our graders on all cores against plain math-verify in one process; the slow tail (minutes)."""
    from cegppo_verl.bench import grading as measured

    measured.main(console, items, rounds)


@app.command()
def records(
    rows: Annotated[int, typer.Option(min=1000, help="Sample rows in all.")] = 10_000_000,
) -> None:
    """Sample tables written, compacted and scored, against plain pandas; peak memory (minutes)."""
    from cegppo_verl.bench import records as measured

    measured.main(console, rows, plain=True)


@app.command("report")
def report_(
    runs: Annotated[int, typer.Option(min=20, help="Runs of the made-up grid.")] = 1000,
    peers: Annotated[
        Path | None, typer.Option(help="An interpreter that has arch, for the bootstrap's other side.")
    ] = None,
) -> None:
    """A whole report of many runs: seconds, memory, growth; the bootstrap against arch's (minutes)."""
    from cegppo_verl.bench import report as measured

    measured.main(console, runs, peers)

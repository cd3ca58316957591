"""``cegppo eval``: final numbers of a checkpoint or model."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cegppo_verl.cli_options import RESULTS, Results, Scale, Seeds, console


def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="CELL|CHECKPOINT|MODEL",
            help="CELL[@STEP] or CELL@base (a cell by id, slug, folder or GRID#arm), a scale, "
            "a global_step_N folder, or a Hugging Face model.",
            show_default=False,
        ),
    ],
    benchmark: Annotated[
        list[str] | None, typer.Option(help="A name or a JSONL or parquet file, instead of the preset's.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Answers per problem (k).")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, max=10.0, help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(min=0.001, max=1.0, help="Share of probability.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Longest answer, tokens.")] = None,
    max_prompt_length: Annotated[int | None, typer.Option(min=1, help="Longest prompt, tokens.")] = None,
    problems: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many answers in this call.")] = None,
    scale: Scale = None,
    seed: Seeds = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs to use; default: all.")] = None,
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder of the evaluations.")] = Path("results/evaluations"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing, and stop.")] = False,
) -> None:
    """Final numbers through vLLM: avg@k, pass@k, truncation. Ctrl-C is safe: the same command goes on.

    What is not given is the preset's. Temperature, top-p and length change the decoding, so its answers are
    kept apart; more samples or problems add to what is recorded.
    """
    from cegppo_verl.launch.evaluate import command
    from cegppo_verl.launch.evaluate.tasks import Changes
    from cegppo_verl.reporting import evaluation as shown

    changes = Changes(benchmark or (), samples, temperature, top_p, max_length, problems, max_prompt_length)
    asked = command.Call(what, results, out, scale, seed, changes, gpus, limit)
    evaluation = command.understand(asked)
    if dry_run:
        for line in command.plan_lines(evaluation):
            print(line)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = command.evaluate(evaluation, console)
    except KeyboardInterrupt:
        Console(stderr=True).print(f"stopped; {command.farewell(evaluation)}", soft_wrap=True)
        raise typer.Exit(130) from None
    console.print(shown.table(found, evaluation.subject.shown))
    for remark in shown.remarks(found):
        console.print(remark, highlight=False, soft_wrap=True)

"""The verb `cegppo import`: other people's runs into records that can stand in one table with ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cegppo_verl.cli_options import console

if TYPE_CHECKING:
    from cegppo_verl.records.importers import Grade

Kind = Annotated[
    str, typer.Argument(help="verl, lighteval, repeated, wandb or tensorboard.", show_default=False)
]
Source = Annotated[Path, typer.Argument(help="The file or folder to import.", show_default=False)]


def import_(
    kind: Kind,
    path: Source,
    place: Annotated[str, typer.Option("--as", help="GRID/ARM, where it shall stand in tables.")],
    seed: Annotated[int, typer.Option(help="Its training seed.")],
    scale: Annotated[str, typer.Option(help="Its scale, e.g. r1-distill-qwen-7b.")] = "foreign",
    step: Annotated[int, typer.Option(min=0, help="Training steps before it, for lighteval, repeated.")] = 0,
    benchmark: Annotated[str | None, typer.Option(help="Name of the benchmark, not the file's.")] = None,
    metric: Annotated[str | None, typer.Option(help="lighteval's metric that is the verdict.")] = None,
    grade: Annotated[bool, typer.Option("--grade", help="Grade the responses here, by \\boxed{}.")] = False,
    results: Annotated[Path, typer.Option(help="Imported runs go to RESULTS/imported.")] = Path("results"),
) -> None:
    """Import a foreign run: verl's dumps, lighteval, W&B, TensorBoard, the authors' repeated rows."""
    from cegppo_verl.records.importers import Options, Target, import_run

    options = Options(step, benchmark, metric, _grader() if grade else None)
    done = import_run(kind, path, Target.parse(place, seed, scale), results, options)
    console.print(f"{done.samples} samples of {len(done.steps)} steps, metrics of {done.metric_steps} steps")
    for note in done.notes:
        console.print(f"note: {escape(note)}")
    console.print(f"imported to {escape(str(done.folder))}")


def _grader() -> Grade:
    from cegppo_verl.evaluation.graders import grade, grader_id

    def graded(response: str, truth: str) -> dict[str, Any]:
        verdict = grade(response, truth)
        known = {"outcome": verdict.outcome, "extracted": verdict.extracted[:200], "grader": grader_id()}
        failed = verdict.outcome == "grader_error"  # says nothing about the response
        return {**known, "acc": None if failed else float(verdict.correct)}

    return graded

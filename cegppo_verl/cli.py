"""The ``cegppo`` command: verbs only, the work is in the rooms."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cegppo_verl import __version__, cli_bench, cli_cells, cli_data, cli_eval, cli_import
from cegppo_verl.cli_options import RESULTS, GridFile, Results, Scale, Seeds, console
from cegppo_verl.errors import EXIT_USER_ERROR, UserError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Benchmark and ablate entropy-controlling policy losses on verl.\n\n"
    "[bold]cegppo plan[/] ablations/demo.yaml, then [bold]run[/], [bold]status[/] and [bold]report[/] "
    "the same file.",
)
STOPPING = (signal.SIGINT, signal.SIGTERM)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(f"cegppo {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before the verb."""


def _one_blas_thread() -> None:
    """Before numpy is imported: in products as small as a bootstrap's, BLAS threads wait for each other."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@app.command()
def plan(
    grid: GridFile,
    scale: Scale = None,
    seed: Seeds = None,
    results: Results = RESULTS,
    check: Annotated[
        bool, typer.Option(help="Compose against verl's real configuration, where verl is installed.")
    ] = True,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs the grid may use at once, for the time it takes.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every cell and remark, however many.")] = False,
    overrides: Annotated[
        bool, typer.Option("--overrides", help="Print what verl is told instead; see --arm.")
    ] = False,
    arm: Annotated[list[str] | None, typer.Option(help="With --overrides: only these arms.")] = None,
) -> None:
    """Show a grid's cells, what is done and why, what it costs, and settings that cannot matter."""
    from cegppo_verl.launch import planning

    if overrides:
        planning.show_overrides(grid, scale, seed, results, console, arms=arm, check=check)
        return
    planning.show(grid, scale, seed, results, console, check=check, gpus=gpus, everything=everything)


@app.command()
def schema() -> None:
    """Print the JSON Schema of grid files, for editors: `cegppo schema > grid.schema.json`."""
    import json

    from cegppo_verl.experiment.schema import grid_schema

    print(json.dumps(grid_schema(), indent=2))


@app.command()
def run(
    grid: GridFile,
    scale: Scale = None,
    seed: Seeds = None,
    results: Results = RESULTS,
    arm: Annotated[list[str] | None, typer.Option(help="Only these arms.")] = None,
    executor: Annotated[
        str | None, typer.Option(help="local (default), ray, slurm or kuberay, with default settings.")
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="Cluster profile; `cegppo cluster slurm` prints one to start from.")
    ] = None,
    max_gpu_hours: Annotated[
        float | None,
        typer.Option(min=0, help="For the whole grid, earlier runs included; a CPU cell counts as one GPU."),
    ] = None,
    logger: Annotated[
        list[str] | None,
        typer.Option(help="wandb or tensorboard, too: one run per cell, over all its attempts."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print exactly what would be submitted, and stop.")
    ] = False,
    warm: Annotated[
        bool, typer.Option(help="Fork warm interpreters on the CPU platform (faster start-up).")
    ] = True,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts after a failure that may pass.")] = 2,
    startup_limit: Annotated[
        float, typer.Option(min=1, help="Seconds to the first logged line before a run counts as stalled.")
    ] = 900.0,
) -> None:
    """Run every cell that is not done. Ctrl-C is safe: the same command goes on where it stopped.

    On this machine Ctrl-C ends the running cells in order. Jobs on a cluster go on without the runner:
    the same command watches them again, `cegppo stop` ends them.
    """
    from cegppo_verl.launch import run_command
    from cegppo_verl.launch.follow import Limits
    from cegppo_verl.launch.view import choose_view

    limits = Limits(startup=startup_limit)
    call = run_command.Call(
        grid, scale, seed, arm, results, executor, cluster, max_gpu_hours, logger or (), retries, warm, limits
    )
    if dry_run:
        for text in run_command.dry_run(call):
            print(text, end="\n\n")
        return
    made = run_command.prepare(call, choose_view(console))
    # Schedulers end a job with SIGTERM, and a shell starts background jobs with SIGINT ignored.
    for number in STOPPING:
        signal.signal(number, _stop)
    try:
        done = made.run()
    except KeyboardInterrupt:  # typer would end here without a word
        Console(stderr=True).print(f"stopped; {made.farewell()}")
        raise typer.Exit(130) from None
    raise typer.Exit(0 if done else 1)


@app.command()
def cluster(
    executor: Annotated[str, typer.Argument(help="local, ray, slurm or kuberay.", show_default=False)],
) -> None:
    """Print a commented cluster profile to start from: `cegppo cluster slurm > cluster.yaml`."""
    from cegppo_verl.launch.executors import registry

    print(registry.example(executor), end="")


def _stop(number: int, frame: object) -> None:
    """The first signal stops the run; an impatient second one must not cut the seconds of tidying short."""
    for known in STOPPING:
        signal.signal(known, signal.SIG_IGN)
    raise KeyboardInterrupt


@app.command()
def report(
    grid: Annotated[
        Path | None,
        typer.Argument(help="A grid file; with --check none means every report.", show_default=False),
    ] = None,
    scale: Scale = None,
    seed: Seeds = None,
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("reports"),
    published: Annotated[
        Path, typer.Option(help="Folder of others' numbers, shown beside ours and marked.")
    ] = Path("results/published"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 if a report does not follow from its records."),
    ] = False,
) -> None:
    """Write tables, figures and a self-contained page from the records, finished or not."""
    _one_blas_thread()
    from cegppo_verl.launch import reports

    if check:
        raise typer.Exit(reports.check(grid, scale, seed, results, out, published, console))
    if grid is None:
        raise UserError("a grid file is needed", hint="e.g. cegppo report ablations/demo.yaml")
    paths = reports.write(grid, scale, seed, results, out, published)
    console.print(f"wrote {paths.html}", soft_wrap=True)


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="A study file, e.g. ablations/studies/clipping.yaml.")],
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("reports"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if the report does not follow.")
    ] = False,
    commands: Annotated[
        bool, typer.Option("--commands", help="Print what makes the evidence, one `cegppo run` per line.")
    ] = False,
) -> None:
    """Decide a study's claims from the records of its grids, by the rule that its file stated beforehand."""
    _one_blas_thread()
    from cegppo_verl.launch import studies

    if commands:
        print("\n".join(studies.commands(file)))
        return
    if check:
        raise typer.Exit(studies.check(file, results, out, console))
    console.print(f"wrote {studies.write(file, results, out)}", soft_wrap=True)


@app.command()
def pack(
    grid: Annotated[Path, typer.Argument(help="A grid file; its finished runs are packed.")],
    scale: Scale = None,
    seed: Seeds = None,
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="Folder of the archives.")] = Path("results/archives"),
) -> None:
    """Pack the records of a grid's finished runs into one small file per scale, the same bytes each time."""
    from cegppo_verl.launch.verbs import archives

    archives.pack(grid, scale, seed, results, out, console)


@app.command()
def unpack(
    files: Annotated[list[Path], typer.Argument(help="What `cegppo pack` wrote.", show_default=False)],
    results: Results = RESULTS,
) -> None:
    """Put packed records back where reports read them; never replaces what is there."""
    from cegppo_verl.launch.verbs import archives

    archives.unpack(files, results, console)


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="JSONL or parquet benchmark in verl's format, e.g. AIME.")],
    scale: Annotated[str, typer.Option(help="The base model to evaluate.")] = "smollm2-135m",
    samples: Annotated[int, typer.Option(min=1, help="Answers per problem (k of avg@k).")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="Sampling temperature.")] = 0.6,
    response_length: Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")] = 256,
    problems: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("results/validation"),
) -> None:
    """One validation pass of a base model over a benchmark file; problems repeated in it are grouped."""
    from cegppo_verl.launch import validation
    from cegppo_verl.reporting import benchmark

    request = validation.Request(file, scale, samples, temperature, response_length, problems)
    console.print(benchmark.table(validation.validate(request, results, console), samples))


@app.command()
def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the check inside a Ray worker (20 s).")
    ] = False,
    lock: Annotated[Path | None, typer.Option(help="Lock file to compare with.")] = None,
) -> None:
    """Check versions, plugin, CPU, GPU, memory, disk, shared memory, ports; a fix for each finding."""
    from cegppo_verl.launch import doctor as checks

    findings = checks.run_checks(quick, lock)
    console.print(checks.render(findings))
    console.print(checks.summary(findings))
    raise typer.Exit(checks.exit_code(findings))


@app.command()
def losses(
    name: Annotated[
        str | None,
        typer.Argument(help="A name of the list, path/to/file.py, or package.module.", show_default=False),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter of the curve, e.g. beta1=0.5; may be repeated.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Write the curve there: .svg, .png or .pdf.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write the index of all losses into this folder.")] = None,
) -> None:
    """List the losses, or explain one: formula, parameters with sources, gradient-weight curve."""
    from cegppo_verl.reporting.losses import command

    command.run(name, param or [], figure, page, console)


@app.command("new-loss")
def new_loss(
    name: Annotated[
        str | None, typer.Argument(help="Of the loss, e.g. soft_clip.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="One file of its own there, instead of files in this repository.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files and write nothing.")] = False,
) -> None:
    """Write the skeleton of a new loss: PPO-clip that passes the contract, with marks where to change it."""
    from cegppo_verl.scaffold import command

    command.run(name, file, console, dry_run=dry_run)


@app.command("check-loss")
def check_loss(
    loss: Annotated[
        str | None,
        typer.Argument(
            help="A name, path/to/file.py[:function] or package.module[:function].", show_default=False
        ),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A hyper-parameter, e.g. beta1=0.5; may be repeated.")
    ] = None,
    allow_exceptions: Annotated[
        bool,
        typer.Option("--allow-exceptions", help="Accept failures that the loss's own file excuses."),
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every loss of `cegppo losses`.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False,
    out: Annotated[Path | None, typer.Option(help="A file for the JSON object.", show_default=False)] = None,
) -> None:
    """Check anybody's policy loss against the contract; a failure shows the smallest input; exit code 1."""
    from cegppo_verl.contract import command

    options = {"allow_exceptions": allow_exceptions, "every": everything, "as_json": as_json}
    raise typer.Exit(command.check_loss(loss, param or [], console, **options, out=out))


cli_cells.register(app)
app.add_typer(cli_bench.app, name="bench")
app.add_typer(cli_data.app, name="data")
app.command("import")(cli_import.import_)
app.command("eval")(cli_eval.evaluate)


def main() -> None:
    """Entry point: user errors end with exit code 2 and no traceback."""
    try:
        app()
    except UserError as error:
        message = escape(str(error))
        Console(stderr=True).print(f"[red]error:[/] {message}", highlight=False, soft_wrap=True)
        sys.exit(EXIT_USER_ERROR)


if __name__ == "__main__":
    main()

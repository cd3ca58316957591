"""The verbs about data sets: `cegppo data list | show | fetch | overlap | check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cegppo_verl.cli_options import console

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Training sets and benchmarks, in verl's format, where `cegppo run` looks for them.",
)

Out = Annotated[
    Path | None, typer.Option(help="Folder of the files instead of $CEGPPO_ASSETS, one folder per data set.")
]


def _root(out: Path | None) -> Path:
    from cegppo_verl.toy.store import assets_root

    return out or assets_root()


@app.command("list")
def list_(out: Out = None) -> None:
    """Show every data set of the catalogue, its source, and whether it is here."""
    from cegppo_verl.data import show

    console.print(show.listing(_root(out)))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of the list, e.g. AIME24.", show_default=False)],
    out: Out = None,
) -> None:
    """Show what the catalogue says of one data set: revision, files, columns, prompt, licence."""
    from cegppo_verl.data import catalog
    from cegppo_verl.data import show as shown

    console.print(shown.details(catalog.dataset(name), _root(out)))


@app.command()
def fetch(
    names: Annotated[
        list[str], typer.Argument(help="Names of the list, e.g. AIME24 GSM8K.", show_default=False)
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A folder or file to take the data from, instead of the hub."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit, branch or tag, instead of the catalogue's.")
    ] = None,
    out: Out = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only what the hub's cache holds.")] = False,
    template: Annotated[str | None, typer.Option(help="Prompt template: bare or boxed.")] = None,
    problems: Annotated[
        int | None, typer.Option(min=1, help="How many problems to expect, instead of the catalogue's.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub name of a tokenizer, to limit tokens.")
    ] = None,
    max_prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Longest prompt in tokens.")] = None,
    max_prompt_characters: Annotated[
        int | None, typer.Option(min=1, help="Longest prompt in characters.")
    ] = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Leave out what cannot be used, and count it, instead of stopping.")
    ] = False,
) -> None:
    """Download data sets, or take them from a folder, and write them in verl's format.

    Run it again after an interruption: whole files are kept. HF_ENDPOINT names a mirror. Files that are
    there stay; each has a sidecar with its revision and checksums, and a changed file is refused.
    """
    from cegppo_verl.data import fetch_command

    options = fetch_command.Options(
        source, revision, _root(out), offline, template, problems, tokenizer, max_prompt_tokens,
        max_prompt_characters, drop,
    )  # fmt: skip
    fetch_command.run(names, options, console)


@app.command()
def overlap(
    train: Annotated[
        str, typer.Argument(help="A fetched training set, or a file in verl's format.", show_default=False)
    ],
    benchmarks: Annotated[
        list[str], typer.Argument(help="Fetched benchmarks, or files in verl's format.", show_default=False)
    ],
    out: Out = None,
    report: Annotated[
        Path | None, typer.Option(help="JSON file of all matches; default: overlap.json beside the set.")
    ] = None,
) -> None:
    """Compare a training set with benchmarks by shared 9-grams of words."""
    from cegppo_verl.data import overlap_report
    from cegppo_verl.records.atomic import write_json

    root = _root(out)
    trained = overlap_report.located(train, root)
    compared = overlap_report.compare(trained, [overlap_report.located(name, root) for name in benchmarks])
    path = report or trained.file.with_name(overlap_report.OUT)
    write_json(path, overlap_report.as_json(trained, compared))
    console.print(overlap_report.table(trained, compared))
    console.print(f"every match, with the training problem: {escape(str(path))}", soft_wrap=True)


@app.command()
def check(
    file: Annotated[
        Path,
        typer.Argument(help="JSONL or parquet in verl's format; repeats are grouped.", show_default=False),
    ],
) -> None:
    """Read a file in verl's format: problems, repetitions, answers, ids, and whether it was changed."""
    from cegppo_verl.data import check as checks

    console.print(checks.table(checks.check(file)))

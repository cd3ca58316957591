"""What ``cegppo data fetch`` does with its options: one data set after the other, a line for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from cegppo_verl.data import catalog, lengths
from cegppo_verl.data.fetch import Done, Request, fetch
from cegppo_verl.errors import UserError


@dataclass(frozen=True)
class Options:
    """The command's options, in its order."""

    local: Path | None
    revision: str | None
    root: Path
    offline: bool
    template: str | None
    count: int | None
    tokenizer: str | None
    most_tokens: int | None
    most_characters: int | None
    drop: bool


def run(names: Sequence[str], options: Options, console: Console) -> None:
    """Fetch each data set; those before a failure stay.

    Raises:
        UserError: an unknown name or contradictory options (then nothing is fetched), or a data set fails.
    """
    requests = _requests(names, options)
    for request in requests:
        console.print(escape(line(fetch(request, console))), soft_wrap=True)


def _requests(names: Sequence[str], options: Options) -> list[Request]:
    sets = list(dict.fromkeys(catalog.dataset(name).name for name in names))
    if len(sets) > 1:
        _for_one_only(options)
    if options.template:
        catalog.template(options.template)
    limit = lengths.limit(
        options.tokenizer, options.most_tokens, options.most_characters, options.offline
    )  # fmt: skip
    return [
        Request(
            catalog.dataset(name), options.root, options.local, options.revision, options.offline,
            options.template, options.count, limit, options.drop,
        )
        for name in sets
    ]  # fmt: skip


def _for_one_only(options: Options) -> None:
    given: dict[str, object] = {"--revision": options.revision, "--problems": options.count}
    given["--from FILE"] = options.local if options.local and options.local.is_file() else None
    for name, value in given.items():
        if value:
            hint = "fetch that data set in a command of its own"
            raise UserError(f"{name} is of one data set, and several are named", hint=hint)


def line(done: Done) -> str:
    """What to say of one data set."""
    said = done.sidecar
    least, most = said["repeats"]["least"], said["repeats"]["most"]
    times = f", each {most} times in its source" if least == most > 1 else ""
    left_out = "".join(f"; left out: {item['count']} {reason}" for reason, item in said["dropped"].items())
    verb = "written" if done.fresh else "there already, unchanged"
    origin = f"{said['repo']}@{said['revision'][:12]}" if said["repo"] else said["revision"]
    return f"{said['name']}: {said['problems']:,} problems{times}{left_out}; {origin}; {verb}: {done.file}"

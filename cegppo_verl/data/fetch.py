"""``cegppo data fetch``: sources → checked → problems → verl's rows → a file and its sidecar, or an error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cegppo_verl import __version__
from cegppo_verl.data import hub, lengths, outcome, problems, reading, source
from cegppo_verl.data.catalog import UNPINNED, Dataset, Template, template
from cegppo_verl.data.problems import Grouped, Record
from cegppo_verl.data.source import Source
from cegppo_verl.errors import UserError

Watch = Callable[[Iterable[Record]], Iterable[Record]]


@dataclass(frozen=True)
class Request:
    """What to fetch and how.

    Attributes:
        root: the assets folder; the file goes to ``<root>/<name>/<train|test>.parquet``.
        local: a folder or file to take the sources from, instead of the hub.
        revision: instead of the catalogue's: a commit, branch or tag.
        offline: only what the hub's cache holds.
        template: instead of the catalogue's.
        count: how many problems to expect, instead of the catalogue's number.
        limit: the longest prompt.
        drop: leave out what cannot be used instead of refusing the file.
    """

    dataset: Dataset
    root: Path
    local: Path | None = None
    revision: str | None = None
    offline: bool = False
    template: str | None = None
    count: int | None = None
    limit: lengths.Limit | None = None
    drop: bool = False

    @property
    def file(self) -> Path:
        """Where the outcome goes."""
        return self.root / self.dataset.file

    @property
    def template_name(self) -> str:
        """The template in use."""
        return self.template or self.dataset.template


@dataclass(frozen=True)
class Done:
    """What became of a request. ``fresh``: made now, not found."""

    file: Path
    sidecar: Mapping[str, Any]
    fresh: bool


def fetch(request: Request, console: Console) -> Done:
    """Make the file of one data set, unless it is there and as it was written.

    Raises:
        UserError: see the modules; nothing is written then.
    """
    shape = template(request.template_name)
    if request.local is None and not request.revision and request.dataset.revision == UNPINNED:
        _say_unpinned(request.dataset, console)
    present = _present(request)
    return Done(request.file, present, fresh=False) if present else _make(request, shape, console)


def _present(request: Request) -> Mapping[str, Any] | None:
    """The sidecar of a file that is there and is what was asked for."""
    present = outcome.verified(request.file)
    if present is not None:
        _same_wish(present, request)
    return present


def _say_unpinned(dataset: Dataset, console: Console) -> None:
    text = f"{dataset.name}: the catalogue has no revision; the newest is taken, and the sidecar says which"
    console.print(text, soft_wrap=True)


def _same_wish(present: Mapping[str, Any], request: Request) -> None:
    """A file that is there stays, but must not be taken for another one."""
    hint = f"use --out for a second copy, or remove {request.file} and its sidecar first"
    asked = request.revision
    if asked and request.local is None and asked not in (present["revision"], present["revision_asked"]):
        text = f"there already, of revision {present['revision']}, not {asked}"
        raise UserError(text, file=request.file, key="--revision", hint=hint)
    if present["template"]["name"] != request.template_name:
        text = f"there already, with template '{present['template']['name']}', not '{request.template_name}'"
        raise UserError(text, file=request.file, key="--template", hint=hint)
    if request.local is not None:
        given = {item.sha256 for item in source.from_local(request.dataset, request.local)}
        if given != {item["sha256"] for item in present["sources"]}:
            text = f"there already, made of other files (revision: {present['revision']})"
            raise UserError(text, file=request.file, key="--from", hint=hint)


def _make(request: Request, shape: Template, console: Console) -> Done:
    sources, revision = _sources(request)
    _check_sources(request, sources, revision)
    with _progress(console, request.dataset.name, sources) as watch:
        found = _problems(request, sources, shape, watch)
    rows = outcome.verl_rows(request.dataset, shape, found.problems)
    data = outcome.table_bytes(rows)
    sidecar = _sidecar(request, shape, sources, revision, found)
    sidecar["outcome"] = _outcome(request.file, data, rows)
    with outcome.locked(request.root, request.dataset.name):  # now only: a failed fetch leaves no trace
        other = _present(request)
        if other is not None:
            return Done(request.file, other, fresh=False)
        outcome.write(request.file, data, sidecar)
    return Done(request.file, sidecar, fresh=True)


def _sources(request: Request) -> tuple[list[Source], str]:
    dataset = request.dataset
    if request.local is not None:
        return source.from_local(dataset, request.local), request.revision or "local files"
    asked = request.revision or (hub.MAIN if dataset.revision == UNPINNED else dataset.revision)
    return hub.fetch(dataset.repo, dataset.files, asked, offline=request.offline)


def _check_sources(request: Request, sources: list[Source], revision: str) -> None:
    """Against the catalogue's checksums, and against those of an earlier fetch of the same revision."""
    stated = dict(request.dataset.sha256) if _of_catalogue(request, sources) else {}
    earlier = outcome.read_sidecar(request.file)
    if earlier and earlier["revision"] == revision:
        stated |= {item["path"]: item["sha256"] for item in earlier["sources"]}
    for item in sources:
        if stated.get(item.name, item.sha256) != item.sha256:
            text = f"{item.name}: its checksum changed ({item.sha256[:12]}…, was {stated[item.name][:12]}…)"
            hint = (
                "this is another file under the same name: get the right one; if it is, pass its --revision, "
            )
            hint += f"or remove {outcome.sidecar_of(request.file).name}"
            raise UserError(text, file=item.path, hint=hint)


def _of_catalogue(request: Request, sources: list[Source]) -> bool:
    own = [item.name for item in sources] == list(request.dataset.files)
    return own and request.revision in (None, request.dataset.revision)


def _problems(request: Request, sources: list[Source], shape: Template, watch: Watch) -> Grouped:
    dataset = request.dataset
    read = chain.from_iterable(problems.records(item.path, dataset) for item in sources)
    found = problems.group(watch(read), tolerant=request.drop or dataset.role == "train")
    if not found.problems:
        hint = "choose another split or file; the catalogue's are shown by: cegppo data show " + dataset.name
        raise UserError("the split is empty", file=sources[0].path, hint=hint)
    _check_count(request, found, sources[0].path)
    if request.limit:
        lengths.apply(found, lambda text: outcome.prompt_of(shape, text), request.limit, drop=request.drop)
        if not found.problems:
            raise UserError("no prompt is short enough", file=sources[0].path, hint="raise the limit")
    return found


def _check_count(request: Request, found: Grouped, path: Path) -> None:
    """A benchmark has a known number of problems: as rows, or as problems that are repeated in the file."""
    wanted = request.count or request.dataset.problems
    if wanted not in (None, found.rows, len(found.problems)):
        text = f"{request.dataset.name} has {wanted} problems; here are {len(found.problems)}"
        text += f" in {found.rows} rows" if found.rows != len(found.problems) else ""
        raise UserError(text, file=path, hint="take the right file, or say what you expect: --problems N")


def _sidecar(
    request: Request, shape: Template, sources: list[Source], revision: str, found: Grouped
) -> dict[str, Any]:
    dataset = request.dataset
    least, most = found.repeats
    return {
        "schema": outcome.SCHEMA,
        "name": dataset.name,
        "role": dataset.role,
        "repo": dataset.repo if request.local is None else None,
        "revision": revision,
        "revision_asked": request.revision or dataset.revision,
        "config": dataset.config,
        "split": dataset.split,
        "licence": dataset.licence,
        "sources": [_source(item) for item in sources],
        "template": {"name": request.template_name, "text": shape.text, "source": shape.source},
        "answer_rule": dataset.answer_rule,
        "limit": {"most": request.limit.most, "unit": request.limit.unit} if request.limit else None,
        "rows": found.rows,
        "problems": len(found.problems),
        "repeats": {"least": least, "most": most},
        "dropped": {word: {"count": n, "first": found.examples[word]} for word, n in found.dropped.items()},
        "versions": {"cegppo-verl": __version__, "pyarrow": version("pyarrow")},
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _source(item: Source) -> dict[str, Any]:
    size = item.path.stat().st_size
    return {"path": item.name, "sha256": item.sha256, "bytes": size, "verified": item.verified}


def _outcome(file: Path, data: bytes, rows: list[dict[str, Any]]) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    rows_sha256 = outcome.rows_digest(rows)
    return {"file": file.name, "sha256": sha256, "rows_sha256": rows_sha256, "bytes": len(data)}


@contextmanager
def _progress(console: Console, name: str, sources: list[Source]) -> Iterator[Watch]:
    """A bar over the rows that are read; nothing where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    counts = [reading.count(item.path) for item in sources]
    total = sum(n for n in counts if n) if all(counts) else None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{name}: rows", total=total)

        def watch(read: Iterable[Record]) -> Iterator[Record]:
            for record in read:
                bar.advance(task)
                yield record

        yield watch

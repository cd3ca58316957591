"""The file that verl reads, and beside it the sidecar that says what it is made of: ``test.parquet.json``."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from cegppo_verl.data.catalog import Dataset, Template
from cegppo_verl.data.problems import Problem
from cegppo_verl.data.source import digest
from cegppo_verl.errors import UserError
from cegppo_verl.records.atomic import write_bytes, write_json
from cegppo_verl.toy.rows import Row, user, verl_row
from cegppo_verl.toy.store import ROOT_VARIABLE

SCHEMA = 1
EXTRACT = "boxed"  # how answers are found in responses: paper, 4.1


def sidecar_of(file: Path) -> Path:
    """Where the provenance of a data file is."""
    return file.with_name(file.name + ".json")


def prompt_of(template: Template, problem: str) -> str:
    """The user's message for a problem."""
    return template.text.replace("{problem}", problem)


def verl_rows(dataset: Dataset, template: Template, problems: Sequence[Problem]) -> list[Row]:
    """The rows of the outcome; ``extra_info.problem_id`` is "<data set>/<hash of the problem's text>"."""
    made = []
    for index, problem in enumerate(problems):
        messages = user(prompt_of(template, problem.text))
        row = verl_row(dataset.key, index, messages, problem.answer, ability="math", extract=EXTRACT)
        row["extra_info"] |= {"problem_id": f"{dataset.key}/{problem.id}", "source_id": problem.source_id}
        made.append(row)
    return made


def table_bytes(rows: Sequence[Row]) -> bytes:
    """The rows as a parquet file; the same rows give the same bytes with one version of pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), target)
    return target.getvalue()


def rows_digest(rows: Sequence[Row]) -> str:
    """SHA-256 of the rows as canonical JSON: the same on every machine and with every pyarrow."""
    content = json.dumps(list(rows), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def read_sidecar(file: Path) -> dict[str, Any] | None:
    """What the sidecar of ``file`` says; None when there is none.

    Raises:
        UserError: it is not readable.
    """
    path = sidecar_of(file)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"not a readable sidecar: {error}", file=path, hint=_again(file)) from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise UserError("written by another version", file=path, hint=_again(file))
    return found


def verified(file: Path) -> dict[str, Any] | None:
    """The sidecar of a file that is still as it was written; None when there is no file.

    Raises:
        UserError: the file was changed since, or has no sidecar.
    """
    if not file.is_file():
        return None
    sidecar = read_sidecar(file)
    if sidecar is None:
        hint = "move it away, or fetch into another folder with --out"
        raise UserError("a file without provenance is there already", file=file, hint=hint)
    if digest(file) != sidecar["outcome"]["sha256"]:
        raise UserError("changed since it was fetched: its checksum differs", file=file, hint=_again(file))
    return sidecar


def write(file: Path, data: bytes, sidecar: dict[str, Any]) -> None:
    """Both files; the data last, so that data without provenance never appears.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    with _readable_os_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(sidecar_of(file), sidecar)
        write_bytes(file, data)


@contextmanager
def locked(root: Path, name: str) -> Iterator[None]:
    """Only one process at a time writes one data set; a second one waits for it.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = root / "locks"
    with _readable_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"data-{name}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _readable_os_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = f"make room or rights there, set {ROOT_VARIABLE} to another folder, or use --out"
        raise UserError(f"cannot write: {error.strerror or error}", file=place, hint=hint) from error


def _again(file: Path) -> str:
    return f"remove {file.name} and {sidecar_of(file).name}, then fetch again"

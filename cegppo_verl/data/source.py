"""Source files and their checksums, and the search for them in a local folder."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.data.catalog import Dataset
from cegppo_verl.data.reading import SUFFIXES
from cegppo_verl.errors import UserError

_REPEATED = re.compile(r"_x[0-9]+$")


@dataclass(frozen=True)
class Source:
    """One file that the outcome is made of. ``name``: its path in the repository, or its file name."""

    name: str
    path: Path
    sha256: str
    verified: str = "no"


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def from_local(dataset: Dataset, place: Path) -> list[Source]:
    """The files of a data set from a folder or a single file.

    A folder may be a copy of the repository, hold one per data set (``<folder>/<name>/…``), hold the bare
    files, or hold a file in verl's format that is named after the data set (``aime24_x32.jsonl``).

    Raises:
        UserError: not all files are there.
    """
    if place.is_file():
        return [Source(place.name, place, digest(place))]
    if not place.is_dir():
        raise UserError("no such folder", file=place, key="--from", hint="give a folder, or a file")
    return _of_repository(dataset, place) or _named_after(dataset, place) or _absent(dataset, place)


def _of_repository(dataset: Dataset, place: Path) -> list[Source]:
    tail = dataset.repo.partition("/")[2]
    for folder in (place, place / dataset.repo, place / tail, place / dataset.name):
        paths = [folder / name for name in dataset.files]
        if all(path.is_file() for path in paths):
            return [Source(name, path, digest(path)) for name, path in zip(dataset.files, paths, strict=True)]
    return []


def _named_after(dataset: Dataset, place: Path) -> list[Source]:
    """A file whose name is the data set's, give or take case, dashes and a number of repetitions."""
    files = [file for file in sorted(place.iterdir()) if file.suffix in SUFFIXES and file.is_file()]
    named = [file for file in files if _plain(file.stem) == _plain(dataset.name)]
    if len(named) > 1:
        listed = ", ".join(file.name for file in named)
        raise UserError(
            f"several files are named after {dataset.name}: {listed}", file=place, hint="name one"
        )
    return [Source(file.name, file, digest(file)) for file in named]


def _plain(name: str) -> str:
    return re.sub(r"[-_ .]", "", _REPEATED.sub("", name.lower()))


def _absent(dataset: Dataset, place: Path) -> list[Source]:
    wanted = ", ".join(dataset.files[:3]) + (", …" if len(dataset.files) > 3 else "")
    hint = f"copy {dataset.repo} there ({wanted}), or name a file in verl's format {dataset.key}.jsonl"
    raise UserError(f"{dataset.name} is not there", file=place, key="--from", hint=hint)

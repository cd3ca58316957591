"""``cegppo data overlap``: files → problems → matches → a table and a JSON file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from cegppo_verl.data import catalog, outcome, overlap, problems, reading
from cegppo_verl.data.overlap import HALF, Match, Text
from cegppo_verl.data.source import digest
from cegppo_verl.errors import UserError

SCHEMA = 1
OUT = "overlap.json"


@dataclass(frozen=True)
class Named:
    """A file to compare and what to call it."""

    name: str
    file: Path


@dataclass(frozen=True)
class Compared:
    """One benchmark against the training set."""

    benchmark: Named
    matches: list[Match]

    def counts(self) -> dict[str, int]:
        """How many of its problems are how much in the training set."""
        found = self.matches
        return {
            "problems": len(found),
            "shorter than 9 words": sum(match.grams == 0 for match in found),
            "a shared 9-gram": sum(match.shared > 0 for match in found),
            "half its 9-grams": sum(match.grams > 0 and match.share >= HALF for match in found),
            "the same words": sum(bool(match.same) for match in found),
        }


def located(word: str, root: Path) -> Named:
    """The file that ``word`` means: a path, or a data set that was fetched.

    Raises:
        UserError: neither; names the command that makes the file.
    """
    if word.endswith(reading.SUFFIXES) or Path(word).is_file():
        if not Path(word).is_file():
            raise UserError("no such file", file=word, hint="give a file, or the name of a data set")
        return Named(Path(word).stem, Path(word))
    wanted = catalog.dataset(word)
    file = root / wanted.file
    if not file.is_file():
        raise UserError("not fetched yet", file=file, hint=f"cegppo data fetch {wanted.name}")
    outcome.verified(file)
    return Named(wanted.name, file)


def compare(train: Named, benchmarks: Sequence[Named]) -> list[Compared]:
    """All benchmarks against one training set; their index is one, so the training set is read once.

    Raises:
        UserError: a file is not in verl's format.
    """
    sets = [texts(named.file) for named in benchmarks]
    matches = iter(overlap.compare(texts(train.file), [text for one in sets for text in one]))
    return [
        Compared(named, [next(matches) for _ in one]) for named, one in zip(benchmarks, sets, strict=True)
    ]


def texts(file: Path) -> list[Text]:
    """(id, problem without the prompt's instructions); repeated rows are one problem."""
    columns = catalog.VERL_COLUMNS
    names = reading.header(file)
    if missing := [name for name in columns.needed if name not in names]:
        hint = "give a file in verl's format, or fetch it first: cegppo data fetch NAME"
        raise UserError(f"column '{missing[0]}' is missing", file=file, hint=hint)
    grouped = problems.group(_unwrapped(file), tolerant=True)
    return [(problem.source_id or problem.id, problem.text) for problem in grouped.problems]


def _unwrapped(file: Path) -> Iterator[problems.Record]:
    for record in problems.verl_records(file, catalog.VERL_COLUMNS):
        text = catalog.unwrapped(record.text)
        # The text decides whether two rows are one problem here; answers are none of its business.
        yield problems.Record(record.place, text, "", record.source_id)


def table(train: Named, compared: Sequence[Compared]) -> Table:
    """One line per benchmark."""
    heads = list(compared[0].counts()) if compared else []
    shown = Table("benchmark", *heads, title=f"in {train.name}")
    for one in compared:
        shown.add_row(one.benchmark.name, *(str(count) for count in one.counts().values()))
    return shown


def as_json(train: Named, compared: Sequence[Compared]) -> dict[str, Any]:
    """Everything for programs: which files, what is counted, each match with its training problem."""
    return {
        "schema": SCHEMA,
        "n": overlap.N,
        "normalisation": "NFKC, case folded, words are runs of letters and digits",
        "train": {"name": train.name, "sha256": digest(train.file)},
        "benchmarks": [_benchmark(one) for one in compared],
    }


def _benchmark(one: Compared) -> dict[str, Any]:
    touched = sorted((m for m in one.matches if m.shared or m.same), key=lambda m: -m.share)
    return {
        "name": one.benchmark.name,
        "sha256": digest(one.benchmark.file),
        "counts": one.counts(),
        "matches": [{**asdict(match), "share": round(match.share, 4)} for match in touched],
    }

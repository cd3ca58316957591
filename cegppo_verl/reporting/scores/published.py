"""Others' numbers and the layout of their tables, as committed under results/published."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cegppo_verl.errors import UserError
from cegppo_verl.records.derived import sha256

LAYOUT = "tables.yaml"


@dataclass(frozen=True)
class PaperRow:
    """A row of a published table, and which arm of ours stands beside it.

    Attributes:
        method, where: what selects it in the CSV file; ``where`` compares numbers.
        algorithm, params: what an arm must have; ``base``: the model before training instead.
    """

    label: str
    method: str
    where: Mapping[str, float]
    algorithm: str = ""
    params: Mapping[str, float] | None = None
    base: bool = False

    def is_arm(self, algorithm: str, params: Mapping[str, Any]) -> bool:
        """Whether an arm of ours is this row's method with this row's parameters."""
        wanted = self.params or {}
        return (
            not self.base and algorithm == self.algorithm and all(params.get(k) == wanted[k] for k in wanted)
        )


@dataclass(frozen=True)
class PaperColumn:
    """A column: its name in the CSV file, our benchmark, whether averages count it."""

    title: str
    benchmark: str
    averaged: bool = True


@dataclass(frozen=True)
class Published:
    """One published table.

    Attributes:
        numbers: the CSV file's rows.
        digest: SHA-256 of the CSV file.
    """

    name: str
    grid: str
    title: str
    source: str
    protocol: str
    rows: tuple[PaperRow, ...]
    columns: tuple[PaperColumn, ...]
    numbers: tuple[Mapping[str, str], ...]
    file: str
    digest: str

    @cached_property
    def scales(self) -> list[str]:
        """Models in the table's order, as it spells them."""
        return list(dict.fromkeys(row["scale"] for row in self.numbers))

    def score(self, scale: str, row: PaperRow, column: str) -> float | None:
        """The published number in per cent, None where the table has none."""
        for numbers in self.numbers:
            if numbers["scale"].lower() == scale.lower() and _is_row(numbers, row):
                found = numbers.get(column) or ""
                return float(found) if found else None
        return None


def _is_row(numbers: Mapping[str, str], row: PaperRow) -> bool:
    same = all(numbers.get(key) and float(numbers[key]) == value for key, value in row.where.items())
    return numbers["method"] == row.method and same


def load_published(folder: Path | None, grid: str) -> Published | None:
    """The published table that a grid is to regenerate; None when there is none, or no folder.

    Raises:
        UserError: the layout or its CSV file is wrong.
    """
    if folder is None or not (folder / LAYOUT).is_file():
        return None
    try:
        tables = yaml.safe_load((folder / LAYOUT).read_text(encoding="utf-8"))["tables"]
        entry = next((table for table in tables if table["grid"] == grid), None)
        return None if entry is None else _published(folder, entry)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        hint = "take the file from the repository again"
        raise UserError(f"cannot be used: {error}", file=folder / LAYOUT, hint=hint) from error


def _published(folder: Path, entry: Mapping[str, Any]) -> Published:
    data = (folder / entry["file"]).read_bytes()
    numbers = tuple(csv.DictReader(io.StringIO(data.decode())))
    columns = [PaperColumn(c["title"], c["benchmark"]) for c in entry["columns"]]
    columns += [PaperColumn(c["title"], c["benchmark"], False) for c in entry.get("more_columns", ())]
    return Published(
        entry["name"],
        entry["grid"],
        entry["title"],
        entry["source"],
        " ".join(entry["protocol"].split()),
        tuple(_row(row) for row in entry["rows"]),
        tuple(columns),
        numbers,
        entry["file"],
        sha256(data),
    )


def _row(entry: Mapping[str, Any]) -> PaperRow:
    return PaperRow(
        entry["label"],
        entry["method"],
        entry.get("where", {}),
        entry.get("algorithm", ""),
        entry.get("params", {}),
        bool(entry.get("base")),
    )

"""``cegppo data check``: what is in a file in verl's format, and whether it is still as it was fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from cegppo_verl.data import catalog, outcome, problems, reading
from cegppo_verl.data.problems import Grouped, Record
from cegppo_verl.errors import UserError


@dataclass(frozen=True)
class Checked:
    """What was found. ``sidecar``: one sentence about the provenance."""

    file: Path
    found: Grouped
    longest: int
    sidecar: str

    def lines(self) -> dict[str, str]:
        """What to print."""
        least, most = self.found.repeats
        times = (
            f"{least} to {most} times" if least < most else f"each {most} times" if most > 1 else "each once"
        )
        return {
            "rows": f"{self.found.rows:,}",
            "problems": f"{len(self.found.problems):,}, {times}",
            "longest prompt": f"{self.longest:,} characters",
            "provenance": self.sidecar,
        }


def check(file: Path) -> Checked:
    """Read every row.

    Raises:
        UserError: not in verl's format, empty, a row without an answer, a problem with two answers, an id
            that two problems share, or a file that was changed since it was fetched.
    """
    if not file.is_file():
        raise UserError("no such file", file=file, hint="cegppo data list shows what is there")
    columns = _columns(file)
    ids: Counter[str] = Counter()
    found = problems.group(_noting(problems.verl_records(file, columns), ids), tolerant=False)
    if not found.problems:
        raise UserError("the file has no rows", file=file, hint="fetch it again, or choose another split")
    _distinct(file, found, ids)
    return Checked(file, found, max(len(p.text) for p in found.problems), _provenance(file))


def _columns(file: Path) -> catalog.Columns:
    names = reading.header(file)
    for name in catalog.VERL_COLUMNS.needed:
        if name not in names:
            hint = f"it has {', '.join(names)}; cegppo data fetch writes verl's format"
            raise UserError(f"column '{name}' is missing", file=file, hint=hint)
    return catalog.VERL_COLUMNS


def _noting(read: Iterator[Record], ids: Counter[str]) -> Iterator[Record]:
    seen: set[tuple[str, str]] = set()
    for record in read:
        if record.source_id and (record.source_id, record.text) not in seen:
            seen.add((record.source_id, record.text))
            ids[record.source_id] += 1
        yield record


def _distinct(file: Path, found: Grouped, ids: Counter[str]) -> None:
    name, count = next(iter(ids.most_common(1)), ("", 1))
    if count > 1:
        text = f"{count} different problems have the id '{name}'"
        raise UserError(text, file=file, key="extra_info.problem_id", hint="give each problem its own")


def _provenance(file: Path) -> str:
    if outcome.read_sidecar(file) is None:
        return "no sidecar: where it came from is not recorded"
    sidecar = outcome.verified(file) or {}
    return f"unchanged since {sidecar['written']}, {sidecar['name']} of {sidecar['revision']}"


def table(checked: Checked) -> Table:
    """The lines as a table."""
    shown = Table(show_header=False, title=escape(checked.file.name))
    for name, text in checked.lines().items():
        shown.add_row(name, escape(text))
    return shown

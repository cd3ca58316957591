"""``cegppo data list`` and ``show``: the catalogue for people."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from cegppo_verl.data import catalog, outcome
from cegppo_verl.data.catalog import Dataset
from cegppo_verl.errors import UserError


def listing(root: Path) -> Table:
    """Every data set, and whether its file is in the assets folder."""
    shown = Table(title=escape(f"in {root}"))
    for head in ("name", "role", "problems", "source", "here"):
        shown.add_column(head, no_wrap=head != "source", overflow="fold")
    for item in catalog.datasets().values():
        count = str(item.problems or "")
        shown.add_row(item.name, item.role, count, f"{item.repo}@{item.revision[:8]}", _here(item, root))
    return shown


def _here(item: Dataset, root: Path) -> str:
    """Cheap: the file is not read; ``check`` and ``fetch`` compare its checksum."""
    file = root / item.file
    if not file.is_file():
        return "no"
    try:
        sidecar = outcome.read_sidecar(file)
    except UserError:
        return "sidecar unreadable"
    return f"{sidecar['problems']:,} problems" if sidecar else "without provenance"


def details(item: Dataset, root: Path) -> Table:
    """Everything that the catalogue says about one data set."""
    shown = Table(show_header=False, title=item.name)
    for name, text in _fields(item, root).items():
        shown.add_row(name, escape(text))
    return shown


def _fields(item: Dataset, root: Path) -> dict[str, str]:
    template = catalog.template(item.template)
    columns = f"problem {item.columns.problem}, answer {item.columns.answer} ({item.answer_rule})"
    return {
        "what": item.summary,
        "role": item.role,
        "repository": item.repo,
        "revision": item.revision,
        "config, split": f"{item.config}, {item.split}",
        "files": "\n".join(item.files),
        "columns": columns,
        "prompt": f"{item.template}: {template.text!r}",
        "prompt's source": template.source,
        "problems": str(item.problems or "not published"),
        "licence": item.licence,
        "file": str(root / item.file),
        "here": _here(item, root),
    }

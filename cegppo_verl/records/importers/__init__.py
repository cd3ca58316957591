"""Other people's runs into our records: one file per source, all with ``files`` and ``read``.

verl          a folder of <step>.jsonl                        samples
lighteval     details_*.parquet                               samples of one step
repeated      the authors' JSON lines with responses          samples of one step
wandb         a history or chart: .csv, .parquet, .jsonl      metrics
tensorboard   event files                                     metrics
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.records.importers import lighteval, repeated, tensorboard, verl, wandb
from cegppo_verl.records.importers.found import Found, Grade, Options
from cegppo_verl.records.importers.writing import IMPORTED, Target, imported_runs, is_imported, store

VERSION = 1  # raise it when the same source could give other records
KINDS = {
    "verl": verl,
    "lighteval": lighteval,
    "repeated": repeated,
    "wandb": wandb,
    "tensorboard": tensorboard,
}


@dataclass(frozen=True)
class Imported:
    """What came of an import: the run directory, samples and metric steps brought, notes."""

    folder: Path
    samples: int
    steps: tuple[int, ...]
    metric_steps: int
    notes: tuple[str, ...]


def import_run(
    kind: str, path: Path, target: Target, results: Path, options: Options | None = None
) -> Imported:
    """Read a foreign run and write it as ``store`` says; nothing is written unless all of it can be read.

    Raises:
        UserError: unknown kind, nothing there, anything damaged, or the run has this already.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of source '{kind}'", hint=did_you_mean(kind, KINDS))
    if not path.exists():
        raise UserError("no such file or folder", file=path)
    reader = KINDS[kind]
    source = {"kind": kind, "name": path.name, "version": VERSION, **_hash(reader.files(path), path)}
    found: Found = reader.read(path, options or Options())
    folder = store(found, source, target, results)
    count = sum(map(len, found.samples.values()))
    return Imported(folder, count, tuple(sorted(found.samples)), len(found.metrics), tuple(found.notes))


def _hash(files: list[Path], path: Path) -> dict[str, object]:
    """SHA-256 over names and contents of the files that are read."""
    whole = hashlib.sha256()
    for file in files:
        name = file.relative_to(path) if path.is_dir() else Path(file.name)
        with file.open("rb") as opened:
            whole.update(f"{name.as_posix()}\n{hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return {"sha256": whole.hexdigest(), "files": len(files)}


__all__ = ["IMPORTED", "KINDS", "VERSION", "Grade", "Imported", "Options", "Target"]
__all__ += ["import_run", "imported_runs", "is_imported"]

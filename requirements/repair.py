"""Undo half-finished installations, so that pip installs them again instead of taking them for complete.

pip copies a package's files one by one and finishes RECORD last. Killed in between, it leaves a ``dist-info``
that every later ``pip install`` believes. Removing that folder is enough: pip then writes the files anew.
"""

from __future__ import annotations

import csv
import shutil
import sysconfig
from pathlib import Path


def is_complete(dist_info: Path) -> bool:
    """Whether RECORD was finished by an installer and every file it names is there with its size."""
    record = dist_info / "RECORD"
    if not record.exists():
        return False
    try:
        rows = [row for row in csv.reader(record.read_text(encoding="utf-8").splitlines()) if row]
    except (UnicodeDecodeError, csv.Error):
        return False
    if not any(row[0] == f"{dist_info.name}/INSTALLER" for row in rows):
        return False  # the RECORD of the wheel itself: pip had not come to the end
    return all(_is_intact(dist_info.parent / row[0], row[2] if len(row) > 2 else "") for row in rows)


def _is_intact(path: Path, size: str) -> bool:
    if path.suffix == ".pyc":
        return True  # recompiled at will
    return path.exists() and (not size or path.stat().st_size == int(size))


def repair(site_packages: Path) -> list[str]:
    """Remove the ``dist-info`` of every incomplete package and pip's ``~name`` remains; returns the names."""
    broken = [path for path in sorted(site_packages.glob("*.dist-info")) if not is_complete(path)]
    remains = sorted(site_packages.glob("~*"))
    for path in broken + remains:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [path.name.removesuffix(".dist-info") for path in broken]


if __name__ == "__main__":
    for name in repair(Path(sysconfig.get_path("purelib"))):
        print(f"repair: {name} was installed in part only; installing it again")

"""Records packed into one file and restored: the same bytes, nothing replaced, nothing outside the folder."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.records import archive

RECORDED = {
    "grid/a__toy__seed1-0/cell.json": b"{}\n",
    "grid/a__toy__seed1-0/manifest.json": b'{"schema": 1}\n',
    "grid/a__toy__seed1-0/attempts/001/attempt.json": b"{}\n",
    "grid/a__toy__seed1-0/attempts/001/command.txt": b"python\n",
    "grid/a__toy__seed1-0/attempts/001/metrics.jsonl": b'{"step": 1, "data": {}}\n',
    "grid/a__toy__seed1-0/validation/24.jsonl": b"{}\n{}\n",
}
OTHER = ("attempts/001/log.txt", "attempts/001/alive", "samples.parquet", "checkpoints/global_step_6/data.pt")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for name, data in RECORDED.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    for name in OTHER:
        place = root / "grid/a__toy__seed1-0" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    return root


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def packed(results: Path, file: Path) -> Path:
    assert archive.pack(results.glob("*/*"), results, file) == len(RECORDED)
    return file


def test_records_and_nothing_else_go_there_and_back(results: Path, tmp_path: Path) -> None:
    file = packed(results, tmp_path / "out/grid.tar.xz")
    assert archive.unpack(file, tmp_path / "new") == len(RECORDED)
    assert files(tmp_path / "new") == RECORDED


def test_the_same_records_are_the_same_bytes(results: Path, tmp_path: Path) -> None:
    first = packed(results, tmp_path / "1.tar.xz").read_bytes()
    for path in results.rglob("*"):
        path.touch()
    assert packed(results, tmp_path / "2.tar.xz").read_bytes() == first


def test_what_is_there_is_left_and_what_differs_is_refused(results: Path, tmp_path: Path) -> None:
    file = packed(results, tmp_path / "grid.tar.xz")
    assert archive.unpack(file, results) == 0
    (results / "grid/a__toy__seed1-0/cell.json").unlink()
    changed = results / "grid/a__toy__seed1-0/attempts/001/metrics.jsonl"
    changed.write_bytes(b"other\n")
    with pytest.raises(UserError, match="differs"):
        archive.unpack(file, results)
    assert changed.read_bytes() == b"other\n"
    assert not (results / "grid/a__toy__seed1-0/cell.json").exists()  # all or nothing


def made(file: Path, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with lzma.open(file, "wb") as packed_, tarfile.open(fileobj=packed_, mode="w") as out:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 2 if kind == tarfile.REGTYPE else 0
        out.addfile(entry, io.BytesIO(b"{}"))
    return file


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../grid/run/cell.json", tarfile.REGTYPE),
        ("grid/../../cell.json", tarfile.REGTYPE),
        ("/etc/cell.json", tarfile.REGTYPE),
        ("cell.json", tarfile.REGTYPE),
        ("grid/run/script.py", tarfile.REGTYPE),
        ("grid/run/deeper/cell.json", tarfile.REGTYPE),
        ("grid/run/cell.json", tarfile.SYMTYPE),
        ("grid/run/cell.json", tarfile.LNKTYPE),
        ("grid/run/cell.json", tarfile.DIRTYPE),
    ],
)
def test_foreign_names_are_refused_and_nothing_is_written(name: str, kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no record"):
        archive.unpack(made(tmp_path / "x.tar.xz", name, kind), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("cut", [0, 10, -20])
def test_a_damaged_archive_is_named(cut: int, results: Path, tmp_path: Path) -> None:
    file = packed(results, tmp_path / "grid.tar.xz")
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match="not readable") as found:
        archive.unpack(file, tmp_path / "new")
    assert found.value.file == file
    assert not (tmp_path / "new").exists()

"""Old version or new version, nothing in between and nothing beside it."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cegppo_verl.records import atomic


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_text("old")
    return path


def only(path: Path) -> bool:
    """Whether nothing lies beside ``path``, hidden files included."""
    return os.listdir(path.parent) == [path.name]


def test_replaces_the_content_and_leaves_no_temporary_file(file: Path) -> None:
    atomic.write_bytes(file, b"new\0")
    assert file.read_bytes() == b"new\0"
    assert only(file)


def test_creates_a_file_that_others_may_read(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "β.txt", "Â\n")
    assert (tmp_path / "β.txt").read_bytes() == "Â\n".encode()
    assert stat.S_IMODE((tmp_path / "β.txt").stat().st_mode) == 0o644


def test_json_is_sorted_readable_and_ends_with_a_line_end(file: Path) -> None:
    atomic.write_json(file, {"b": 1, "a": "ε"})
    assert file.read_text() == '{\n  "a": "ε",\n  "b": 1\n}\n'


def test_what_cannot_be_json_leaves_the_old_file(file: Path) -> None:
    with pytest.raises(TypeError):
        atomic.write_json(file, {"a": object()})
    assert file.read_text() == "old"
    assert only(file)


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failing_call_keeps_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        atomic.write_text(file, "new")
    assert file.read_text() == "old"
    assert only(file)


def test_data_is_on_disk_before_the_rename_and_the_rename_before_the_return(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        calls.append(f"fsync {kind} of {os.fstat(descriptor).st_size if kind == 'file' else 'any'}")
        fsync(descriptor)

    def spy_replace(source: str, target: Path) -> None:
        calls.append("replace")
        assert Path(source).parent == target.parent, "a rename across file systems is not atomic"
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    atomic.write_text(file, "1234567")
    assert calls == ["fsync file of 7", "replace", "fsync folder of any"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from cegppo_verl.records import atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    atomic.write_json(Path(sys.argv[1]), {"x": "y" * 100_000})
except OSError as error:
    print(error.strerror)
"""


def test_a_disk_that_takes_only_a_part_keeps_the_old_file(file: Path) -> None:
    file.write_text(json.dumps({"old": 1}))
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(file)], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == (os.strerror(errno.EFBIG), 0), done.stderr
    assert json.loads(file.read_text()) == {"old": 1}
    assert only(file)


def test_a_folder_that_does_not_exist_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.write_text(tmp_path / "no" / "file", "x")
    assert os.listdir(tmp_path) == []

"""Who may write into a run directory, and what a second runner, a reader and a kill find there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.records.rundir import Attempt, RunDir, read_json

CELL = {"id": "0123456789ab", "arm": "grpo"}
HOLD = """
import sys, time
from pathlib import Path
from cegppo_verl.records.rundir import RunDir
with RunDir(Path(sys.argv[1])).lock() as held:
    print(held, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "grid" / "grpo__toy-xs__seed0-0123456789ab")
    run.create(CELL)
    return run


@contextmanager
def other_runner(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    """A second process inside ``run.lock()``."""
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def test_create_writes_the_cell_and_may_be_repeated(run: RunDir) -> None:
    before = run.cell_file.stat().st_mtime_ns
    run.create({**CELL, "arm": "renamed"})
    assert run.cell() == CELL, "an existing record is not rewritten"
    assert run.cell_file.stat().st_mtime_ns == before
    assert run.validation.is_dir()


def test_create_refuses_the_directory_of_another_cell(run: RunDir) -> None:
    with pytest.raises(UserError, match=r"holds cell 0123456789ab, not ffffffffffff") as refusal:
        run.create({**CELL, "id": "ffffffffffff"})
    assert refusal.value.file == run.cell_file
    assert refusal.value.hint
    assert run.cell() == CELL


def test_a_damaged_cell_file_is_written_again(run: RunDir) -> None:
    run.cell_file.write_text('{"id": "01234')
    assert run.cell() is None
    run.create(CELL)
    assert run.cell() == CELL


@pytest.mark.parametrize("content", ["", "{", "[1]", "7", "\xff"])
def test_read_json_knows_objects_only(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_bytes(content.encode("latin-1"))
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "missing.json") is None


def test_attempts_are_numbered_from_one_and_continue_after_the_highest(run: RunDir) -> None:
    assert run.attempts() == []
    assert [run.new_attempt().number for _ in range(2)] == [1, 2]
    assert run.attempts() == [Attempt(n, run.path / "attempts" / f"00{n}") for n in (1, 2)]
    (run.path / "attempts" / "1009").mkdir()
    (run.path / "attempts" / "3-copy").mkdir()
    (run.path / "attempts" / "002").rmdir()
    new = run.new_attempt()
    assert (new.number, new.path.name, new.path.is_dir()) == (1010, "1010", True)
    assert [a.number for a in run.attempts()] == [1, 1009, 1010]


def test_records_are_merged_and_a_missing_or_damaged_one_is_empty(run: RunDir) -> None:
    attempt = run.new_attempt()
    assert attempt.record() == run.manifest() == {}
    attempt.update(number=1, outcome=None)
    attempt.update(outcome="failed")
    assert attempt.record() == {"number": 1, "outcome": "failed"}
    run.update_manifest(schema=1)
    run.update_manifest(cell="x")
    assert run.manifest() == {"schema": 1, "cell": "x"}
    attempt.record_file.write_text("{")
    assert attempt.record() == {}


def test_the_lock_names_its_holder_and_is_free_afterwards(run: RunDir) -> None:
    assert not run.is_locked()
    with run.lock() as held:
        assert held
        assert run.is_locked()
        assert run.lock_file.read_text().strip().isdigit()
    assert not run.is_locked()


def test_the_lock_is_free_after_an_exception(run: RunDir) -> None:
    with pytest.raises(ValueError, match="x"), run.lock():
        raise ValueError("x")
    assert not run.is_locked()


def test_a_second_process_is_kept_out_until_the_first_is_killed(run: RunDir) -> None:
    with other_runner(run) as first:
        assert run.is_locked()
        holder = run.lock_file.read_text()
        assert holder == f"{first.pid}\n"
        with run.lock(patience=0.1) as held:
            assert not held
        assert run.lock_file.read_text() == holder, "who failed to get the lock must not sign it"
        assert run.is_locked(), "who failed to get the lock must not free it"
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert not run.is_locked()
        with run.lock(patience=0.0) as held:
            assert held


def test_a_process_started_by_the_holder_does_not_keep_the_lock(run: RunDir) -> None:
    with run.lock() as held:
        assert held
        child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        assert not run.is_locked()
    finally:
        child.kill()
        child.wait()


def test_a_query_of_the_lock_does_not_turn_a_runner_away(run: RunDir) -> None:
    reader = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_SH)
print("reading", flush=True)
time.sleep(0.4)
"""
    run.lock_file.touch()
    command = [sys.executable, "-c", reader, str(run.lock_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        assert not run.is_locked(), "two readers do not take each other for a runner"
        with run.lock(patience=20.0) as held:
            assert held


def test_asking_writes_nothing(run: RunDir) -> None:
    assert not run.is_locked()
    assert not run.lock_file.exists()
    assert not RunDir(run.path / "none").is_locked()
    with run.lock():
        pass
    before = (run.lock_file.stat().st_mtime_ns, run.path.stat().st_mtime_ns)
    time.sleep(0.02)
    run.is_locked()
    assert (run.lock_file.stat().st_mtime_ns, run.path.stat().st_mtime_ns) == before
    run.lock_file.chmod(0o444)
    assert not run.is_locked()

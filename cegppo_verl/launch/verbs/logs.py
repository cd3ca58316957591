"""``cegppo logs``: what driver and workers of a cell wrote, one attempt after the other."""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.launch.terminal_text import readable, say
from cegppo_verl.launch.verbs import control
from cegppo_verl.launch.verbs.targets import Finder, Target
from cegppo_verl.records.rundir import Attempt
from cegppo_verl.records.status import LIVE, QUEUED

POLL_SECONDS = 0.5
STATE_SECONDS = 5.0  # between questions whether the cell still runs
BLOCK = 65536


def run(
    word: str,
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    console: Console,
    *,
    attempt: int | None = None,
    follow: bool = False,
    lines: int | None = None,
) -> None:
    """Print the log of a cell: of its newest attempt, or the one named; with `follow`, what comes after, too.

    The bytes are those of the file, except on a terminal, where control characters other than colours are
    spelled out. What is said about the log goes to standard error.

    Args:
        word: an id, slug, run directory, or GRID#arm.
        attempt: its number; default: the newest.
        follow: go on until nobody executes the cell any more.
        lines: only the last so many of what is there now.

    Raises:
        UserError: no such cell or attempt, or it has no log yet.
    """
    target = Finder(results, scale, seeds).one(word)
    notes = Console(stderr=True)
    waits = follow and attempt is None
    chosen = _chosen(target, attempt, results, waits=waits)
    reader = _Reader(_Output.to_stdout())
    try:
        if chosen is not None:
            say(notes, f"==> {target.slug}, attempt {chosen.number}", "dim")
            reader.begin(chosen, lines)
        if follow:
            _follow(target, reader, results, notes, only=attempt)
    except BrokenPipeError:  # e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        reader.close()
        reader.output.finish()


def _chosen(target: Target, number: int | None, results: Path, *, waits: bool) -> Attempt | None:
    attempts = target.run.attempts()
    chosen = next((a for a in reversed(attempts) if number in (None, a.number)), None)
    if chosen is None and number is not None:
        known = ", ".join(str(a.number) for a in attempts) or "none"
        raise UserError(f"{target.slug} has no attempt {number}", hint=f"its attempts: {known}")
    if waits or (chosen is not None and chosen.log_file.exists()):
        return chosen
    state = control.look(results, [target])[target.id].text()
    if chosen is None:
        raise UserError(f"{target.slug} has no attempt yet: {state}", hint="`cegppo logs -f` waits for it")
    hint = "logs are not part of committed records: look where it ran"
    raise UserError(f"attempt {chosen.number} of {target.slug} has no log: {state}", hint=hint)


def _follow(target: Target, reader: _Reader, results: Path, notes: Console, *, only: int | None) -> None:
    asked, busy = -STATE_SECONDS, True
    while True:
        if time.monotonic() - asked >= STATE_SECONDS:
            asked, status = time.monotonic(), control.look(results, [target])[target.id]
            busy = status.state in (*LIVE, QUEUED)
        reader.pump()
        later = [a for a in target.run.attempts() if a.number > reader.number] if only is None else []
        if later:
            reader.pump()
            say(notes, f"==> {target.slug}, attempt {later[0].number}", "dim")
            reader.begin(later[0], None)
        elif not busy:
            say(notes, f"==> {target.slug}: {status.text()}", "dim")
            return
        else:
            time.sleep(POLL_SECONDS)


@dataclass
class _Output:
    """Where the bytes go: untouched, or made harmless for a terminal."""

    stream: BinaryIO
    terminal: bool
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("backslashreplace")
    )
    _held: str = ""

    @classmethod
    def to_stdout(cls) -> _Output:
        sys.stdout.flush()
        return cls(sys.stdout.buffer, sys.stdout.isatty())

    def write(self, data: bytes) -> None:
        if not self.terminal:
            self.stream.write(data)
        else:
            text = self._held + self._decoder.decode(data)
            # A colour cut in two would be spelled out: what may be the beginning of one waits.
            cut = text.rfind("\x1b", max(0, len(text) - 16))
            cut = len(text) if cut < 0 or "m" in text[cut:] else cut
            self._held = text[cut:]
            self.stream.write(readable(text[:cut]).encode())
        self.stream.flush()

    def finish(self) -> None:
        """Write what was held back."""
        if self._held:
            self.stream.write(readable(self._held).encode())
            self.stream.flush()


@dataclass
class _Reader:
    """Copies a growing log."""

    output: _Output
    number: int = 0
    _attempt: Attempt | None = None
    _file: BinaryIO | None = None

    def begin(self, attempt: Attempt, lines: int | None) -> None:
        """Go to another attempt's log, ``lines`` before its end."""
        self.close()
        self.number, self._attempt = attempt.number, attempt
        self._open()
        if self._file is not None and lines is not None:
            self._file.seek(tail_offset(self._file, lines))
        self.pump()

    def pump(self) -> None:
        """Copy what is new."""
        self._open()
        if self._file is None:
            return
        for block in _blocks(self._file):
            self.output.write(block)

    def _open(self) -> None:
        if self._file is None and self._attempt is not None and self._attempt.log_file.exists():
            self._file = self._attempt.log_file.open("rb")

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last ``lines`` lines begin; a last line without an end counts as one."""
    end = position = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    found = 0
    while position > 0:
        start = max(0, position - BLOCK)
        file.seek(start)
        block = file.read(position - start)
        for index in range(len(block) - 1, -1, -1):
            if block[index] == 10 and start + index != end - 1:
                found += 1
                if found == lines:
                    return start + index + 1
        position = start
    return 0

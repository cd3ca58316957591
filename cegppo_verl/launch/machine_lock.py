"""One local runner per machine and user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cegppo_verl.errors import UserError


@contextlib.contextmanager
def machine_to_itself() -> Iterator[None]:
    """Hold the machine for one local runner at a time.

    Two private Ray clusters both number their first job 1, and verl names the socket for weights after it.

    Raises:
        UserError: another local runner is at work here.
    """
    path = Path(tempfile.gettempdir()) / f"cegppo-local-run-{os.getuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _claim(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _claim(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 100, 0).decode().strip()
        hint = "wait for it, or stop it with Ctrl-C there; it keeps what it has recorded"
        raise UserError(
            f"another run is going on on this machine (process {holder})", file=path, hint=hint
        ) from error
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

"""Files that a killed attempt left outside its folder: shared memory and sockets that bear its name."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

SHARED_MEMORY, SOCKETS = Path("/dev/shm"), Path("/tmp")  # where verl has them


def tag(mark: str) -> str:
    """How ``verl_plugin/isolation.py`` shortens an attempt's mark to put it into names."""
    return hashlib.sha256(mark.encode()).hexdigest()[:16]


def of(mark: str, shared: Path = SHARED_MEMORY, sockets: Path = SOCKETS) -> list[Path]:
    """What an attempt left on this machine. The tag is a hash of its path: nobody else's names have it."""
    own = tag(mark)
    segments = [*shared.glob(f"psm_{own}_*"), *shared.glob(f"verl_weights_{own}_*")]
    return sorted([*segments, *sockets.glob(f"rl-colocate-zmq-{own}-*")])


def remove(mark: str, shared: Path = SHARED_MEMORY, sockets: Path = SOCKETS) -> list[Path]:
    """Remove it. Call it when no process of the attempt lives, for they share it."""
    found = of(mark, shared, sockets)
    for path in found:
        with contextlib.suppress(OSError):
            path.unlink()
    return found

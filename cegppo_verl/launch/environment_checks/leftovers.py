"""What runs that were killed have left behind. Only files of this user that no process uses are named."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from cegppo_verl.launch.environment_checks.finding import Context, Finding
from cegppo_verl.launch.environment_checks.ray_state import session_root

SHARED_MEMORY = Path("/dev/shm")
# Python's shared memory (weight transfer), Ray's object store, our own probes.
SHARED_PATTERNS = ("psm_*", "plasma*", "cegppo-*")
# verl's weight transfer: vllm_rollout.py writes this folder out, whatever TMPDIR says.
SOCKET_FOLDER, SOCKET_PATTERN = Path("/tmp"), "rl-colocate-zmq-*.sock"
SESSIONS_TOLERATED = 5


def shared_memory_segments(_: Context) -> list[Finding]:
    """Segments in /dev/shm that nobody maps hold memory until the next boot."""
    candidates = [p for pattern in SHARED_PATTERNS for p in SHARED_MEMORY.glob(pattern) if is_own(p)]
    stale = unused(candidates)
    if not stale:
        return [Finding("ok", "shared memory segments", "none left behind")]
    size = sum(size_of(path) for path in stale) / 1024**2
    message = f"{len(stale)} unused, {size:.0f} MiB, e.g. {stale[0].name}"
    names = " ".join(str(path) for path in stale[:8])
    return [
        Finding("warn", "shared memory segments", message, f"remove them when no run is going: rm {names}")
    ]


def ray_sessions(_: Context) -> list[Finding]:
    """Every run leaves a session folder with its logs."""
    sessions = [p for p in session_root().glob("session_*") if is_own(p) and not p.is_symlink()]
    in_use = command_lines()
    stale = [path for path in sessions if not any(path.name in line for line in in_use)]
    if len(stale) <= SESSIONS_TOLERATED:
        return [Finding("ok", "Ray sessions", f"{len(stale)} old")]
    message = f"{len(stale)} old ones in {session_root()}"
    return [Finding("warn", "Ray sessions", message, "remove them: rm -r " + " ".join(map(str, stale[:8])))]


def weight_sockets(_: Context) -> list[Finding]:
    """A listener on verl's weight-transfer socket is a run that a second private run would collide with."""
    sockets, alive = weight_socket_files(), live_weight_sockets()
    if alive:
        fix = "wait for that run: two private Rays on one machine share this socket's name"
        return [Finding("warn", "weight sockets", f"a run is going on ({alive[0].name})", fix)]
    if sockets:
        names = " ".join(map(str, sockets[:8]))
        return [Finding("warn", "weight sockets", f"{len(sockets)} left behind", f"remove: rm {names}")]
    return [Finding("ok", "weight sockets", "none")]


def weight_socket_files() -> list[Path]:
    """verl's weight-transfer sockets of this user, in use or not."""
    return sorted(path for path in SOCKET_FOLDER.glob(SOCKET_PATTERN) if is_own(path))


def live_weight_sockets() -> list[Path]:
    """Those on which a process listens."""
    return [path for path in weight_socket_files() if has_listener(path)]


def is_own(path: Path) -> bool:
    """Whether this user owns the file."""
    try:
        return path.lstat().st_uid == os.getuid()
    except OSError:
        return False


def unused(paths: Iterable[Path]) -> list[Path]:
    """The paths that no readable process has mapped or opened."""
    wanted = sorted(paths)
    if not wanted:
        return []
    used = used_files()
    return [path for path in wanted if str(path) not in used]


def used_files() -> set[str]:
    """Files under /dev/shm that this user's processes map or hold open."""
    used: set[str] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        used |= _mapped(folder) | _opened(folder)
    return used


def _mapped(process: Path) -> set[str]:
    try:
        maps = (process / "maps").read_text(errors="replace")
    except OSError:
        return set()  # gone, or another user's
    return {line.split(None, 5)[5] for line in maps.splitlines() if str(SHARED_MEMORY) in line}


def _opened(process: Path) -> set[str]:
    targets: set[str] = set()
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile: the others still count
                targets.add(os.readlink(link))
    return targets


def command_lines() -> list[str]:
    """The command line of every process that can be read."""
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def has_listener(path: Path) -> bool:
    """Whether a process listens on the Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def size_of(path: Path) -> int:
    """Bytes, 0 when it has gone meanwhile."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0

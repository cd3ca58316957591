"""Users, capabilities and resource limits of the judge and the candidate."""

from __future__ import annotations

import os
import resource
import struct

from cegppo_verl.evaluation.sandbox import kernel
from cegppo_verl.evaluation.sandbox.limits import Limits
from cegppo_verl.evaluation.sandbox.readable import interpreter

NOBODY = 65534
FIRST_UID = 1_000_000_000  # no system gives such numbers to people, so no file and no process has them
CAPABILITIES = 64


def spare_user(offset: int) -> int:
    """A user id for one process of this run only; our own when we may not change it."""
    wanted = FIRST_UID + 2 * (os.getpid() % 500_000_000) + offset
    possible = (wanted, NOBODY) if os.getuid() == 0 else ()
    return next((uid for uid in possible if _exists(uid)), os.getuid())


def _exists(uid: int) -> bool:
    """Whether this user namespace has the number at all."""
    with open("/proc/self/uid_map") as lines:
        ranges = [tuple(map(int, line.split())) for line in lines]
    return any(first <= uid < first + length for first, _, length in ranges)


def _can_work(uid: int, folder: str) -> bool:
    """Whether that user can start the interpreter and enter the folder."""
    os.setresuid(-1, uid, -1)
    try:
        ids = os.access in os.supports_effective_ids
        return os.access(interpreter(), os.X_OK, effective_ids=ids) and os.access(
            folder, os.W_OK | os.X_OK, effective_ids=ids
        )
    finally:
        os.setresuid(-1, 0, -1)


def hindrance(uid: int, folder: str) -> str:
    """Why the candidate cannot be that user; "" when it can, and the folder is then the user's.

    Root stays root, without capabilities, where another user could not reach interpreter and folder.
    """
    if uid == os.getuid():
        return "no other user here"
    try:
        os.chown(folder, uid, -1)
        able = _can_work(uid, folder)
        if not able:
            os.chown(folder, 0, -1)
    except OSError as error:  # root without the capabilities for it
        return f"not allowed to change the user: {error}"
    if not able:
        return "another user cannot reach the interpreter or the folder"
    return "only nobody, who may have other processes" if uid == NOBODY else ""


def become(uid: int) -> None:
    """Change to that user for good, if it is another one."""
    if uid != os.getuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def drop_capabilities() -> None:
    """Give up every capability, for this process and what it executes.

    Raises:
        OSError: something is left.
    """
    if os.getuid() == 0:
        for number in range(CAPABILITIES):
            try:
                kernel.prctl(kernel.PR_CAPBSET_DROP, number)
            except OSError:  # a number that this kernel has not
                break
    # _LINUX_CAPABILITY_VERSION_3, own process; two sets of effective, permitted, inheritable
    kernel.call("capset", struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", 0, 0, 0, 0, 0, 0))


def limit(limits: Limits, *, processes: int | None, files: int) -> None:
    """Set resource limits that cannot be raised again.

    Args:
        limits: memory and processor time.
        processes: the most threads and processes of this user; None: no limit of this kind.
        files: bytes per file; 0: none may be written.
    """
    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: files,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if processes is not None:
        wanted[resource.RLIMIT_NPROC] = processes
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Processor time: SIGXCPU first, which can be ignored, SIGKILL a second later.
        last = value + 1 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else value
        resource.setrlimit(kind, (value, last))

"""The C library's system calls with their errors as OSError."""

from __future__ import annotations

import ctypes
import os

from cegppo_verl.evaluation.sandbox import syscalls

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
MS_NOSUID, MS_NODEV = 2, 4


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    _checked(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(_libc.unshare(flags))


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    kind_, data_ = (None if text is None else text.encode() for text in (kind, data))
    _checked(_libc.mount(source.encode(), target.encode(), kind_, ctypes.c_ulong(flags), data_))


def umount(target: str) -> None:
    """Unmount lazily."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH))


def call(name: str, *arguments: int | bytes | None) -> int:
    """A system call of ``syscalls.OWN`` by name."""
    values = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return _checked(_libc.syscall(ctypes.c_long(syscalls.number(name)), *values))

"""The system-call filter: a small BPF program (Documentation/userspace-api/seccomp_filter.rst).

It runs in the kernel on ``struct seccomp_data``: number at byte 0, machine at 4, arguments from 16, 8 bytes
each, whose lower half (little endian) is enough for the arguments looked at.
"""

from __future__ import annotations

import errno
import struct

from cegppo_verl.evaluation.sandbox import syscalls

KILL, REFUSE, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
X32 = 0x40000000  # calls of the x32 convention have this bit in their number
CLONE_THREAD = 0x00010000
AF_UNIX = 1
PR_SET_PDEATHSIG = 1

Instruction = tuple[int, int, int, int]

_JUMP_ONE: Instruction = (0x05, 0, 0, 1)  # BPF_JMP | BPF_JA


def _load(offset: int) -> Instruction:
    return (0x20, 0, 0, offset)  # BPF_LD | BPF_W | BPF_ABS


def _argument(index: int) -> Instruction:
    return _load(16 + 8 * index)


def _return(value: int) -> Instruction:
    return (0x06, 0, 0, value)  # BPF_RET | BPF_K


def _unless(value: int, skip: int, kind: int = 0x15) -> Instruction:
    """Skip the next ``skip`` instructions unless the comparison (equal by default) with ``value`` holds."""
    return (kind, 0, skip, value)


def _at_least(value: int, skip: int) -> Instruction:
    return _unless(value, skip, 0x35)


def _has_bits(value: int, skip: int) -> Instruction:
    return _unless(value, skip, 0x45)


def _error(number: int) -> Instruction:
    return _return(REFUSE | number)


def _case(name: str, body: list[Instruction]) -> list[Instruction]:
    """``body`` for one system call; it ends with a return and may not fall through."""
    return [_unless(syscalls.number(name), len(body)), *body]


def _only_itself(name: str, own: int, also: int | None = None) -> list[Instruction]:
    """The first argument must be the process itself (or ``also``)."""
    allowed = [_unless(own, 1), _return(ALLOW)]
    if also is not None:
        allowed += [_unless(also, 1), _return(ALLOW)]
    return _case(name, [_argument(0), *allowed, _return(KILL)])


def _special(own: int) -> list[Instruction]:
    refuse = _error(errno.EPERM)
    return [
        # Name services ask a daemon by a unix socket and go on without; any other socket is no accident.
        *_case("socket", [_argument(0), _unless(AF_UNIX, 1), refuse, _return(KILL)]),
        *_case("clone", [_argument(0), _has_bits(CLONE_THREAD, 1), _return(ALLOW), _return(KILL)]),
        # Its flags lie in memory, out of the filter's sight; without it the C library uses clone.
        *_case("clone3", [_error(errno.ENOSYS)]),
        *_only_itself("kill", own),
        *_only_itself("tgkill", own),
        *_only_itself("prlimit64", own, also=0),
        *_case("prctl", [_argument(0), _unless(PR_SET_PDEATHSIG, 1), refuse, _return(ALLOW)]),
    ]


def program(own: int) -> bytes:
    """The filter of the process whose id (in its own namespace) is ``own``, as an array of sock_filter.

    Raises:
        OSError: no system-call numbers are known for this machine.
    """
    code = [_load(4), _unless(syscalls.AUDIT_ARCH[syscalls.machine()], 1), _JUMP_ONE, _return(KILL)]
    code += [_load(0), _at_least(X32, 1), _return(KILL)]
    code += [_at_least(syscalls.LAST + 1, 1), _error(errno.ENOSYS)]
    for number in syscalls.numbers(syscalls.DEADLY):
        code += [_unless(number, 1), _return(KILL)]
    for number in syscalls.numbers(syscalls.REFUSED):
        code += [_unless(number, 1), _error(errno.EPERM)]
    code += [*_special(own), _return(ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)

"""Landlock: the kernel's rules on files for a process without privileges (Linux 5.13 or later).

Numbers from include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from cegppo_verl.evaluation.sandbox import kernel

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # file rights by version
NET_VERSION, SCOPE_VERSION = 4, 6
BIND_TCP_CONNECT_TCP = 3
SCOPE_ABSTRACT_SOCKET_SIGNAL = 3

READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
FREE = READ | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG


def version() -> int:
    """Version of the interface. OSError when the kernel has none."""
    return kernel.call("landlock_create_ruleset", None, 0, 1)


def _ruleset(there: int, handled: int) -> int:
    attributes = struct.pack("=Q", handled)
    if there >= NET_VERSION:
        attributes += struct.pack("=Q", BIND_TCP_CONNECT_TCP)
    if there >= SCOPE_VERSION:
        attributes += struct.pack("=Q", SCOPE_ABSTRACT_SOCKET_SIGNAL)
    return kernel.call("landlock_create_ruleset", attributes, len(attributes), 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not there, or not ours to see: nothing to allow
        return
    try:
        if not os.path.isdir(path):
            rights &= ON_FILES
        kernel.call("landlock_add_rule", ruleset, 1, struct.pack("=Qi", rights, parent), 0)
    finally:
        os.close(parent)


def restrict(readable: Iterable[str], listable: Iterable[str], devices: Iterable[str], free: str) -> None:
    """Shut this process in, for good, with all that it starts.

    Args:
        readable: trees that may be read and executed.
        listable: folders that may be listed, with all below.
        devices: files that may be read and written.
        free: the folder where files may be made, written and removed (no links, devices, sockets, pipes).

    Raises:
        OSError: the kernel has no Landlock.
    """
    there = version()
    handled = ALL[max(known for known in ALL if known <= there)]
    ruleset = _ruleset(there, handled)
    rules = [*((path, READ) for path in readable), *((path, READ_DIR) for path in listable)]
    rules += [*((path, READ_FILE | WRITE_FILE) for path in devices), (free, FREE)]
    for path, rights in rules:
        _allow(ruleset, path, rights & handled)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.call("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)

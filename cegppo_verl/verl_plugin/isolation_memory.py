"""Shared memory that bears the name of its run, so that what a killed run leaves in /dev/shm can be told.

verl passes weights through segments ``verl_weights_<uuid>``, vLLM and others through ``psm_<random>``. Nobody
knows whose they are once their processes are gone. Here the run's tag goes into the name.
"""

from __future__ import annotations

import functools
import secrets
from multiprocessing import shared_memory
from typing import Any

WEIGHTS, NAMELESS = "verl_weights_", "psm_"


def install(tag: str) -> None:
    """Put ``tag`` into the names of this process's segments; calling it again is harmless."""
    original = shared_memory.SharedMemory.__init__
    if getattr(original, "_cegppo_verl", False):
        return

    @functools.wraps(original)
    def init(self: Any, name: str | None = None, create: bool = False, size: int = 0, **options: Any) -> None:
        original(self, named(name, create, tag), create, size, **options)

    init._cegppo_verl = True  # type: ignore[attr-defined]
    shared_memory.SharedMemory.__init__ = init  # type: ignore[method-assign]


def named(name: str | None, create: bool, tag: str) -> str | None:
    """The name with the tag; whoever attaches to a segment of verl's maps its name alike."""
    if name is None:
        return f"{NAMELESS}{tag}_{secrets.token_hex(8)}" if create else None
    plain = name.removeprefix("/")
    if plain.startswith(WEIGHTS) and not plain.startswith(f"{WEIGHTS}{tag}"):
        return f"{WEIGHTS}{tag}_{plain.removeprefix(WEIGHTS)}"
    return name

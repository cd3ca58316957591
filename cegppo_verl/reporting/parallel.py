"""The same work on all cores, by forked processes: they see what this one has without a copy."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar, cast

Made = TypeVar("Made")
_make: Callable[[int], Any] | None = None  # inherited by the forked processes, so that it is not pickled


def spread(make: Callable[[int], Made], count: int, *, least: int) -> list[Made]:
    """``[make(0), …, make(count - 1)]``: the same, in the same order, whatever makes them.

    Args:
        make: what it returns is pickled; what it changes is lost.
        least: fewer are made in this process, before the others would have started.
    """
    if count < least or not possible():
        return [make(number) for number in range(count)]
    global _make
    previous, _make = _make, make
    try:
        # Frozen: a collection that walks what is inherited would copy all of it.
        context, piece = multiprocessing.get_context("fork"), -(-count // (16 * cores()))
        with ProcessPoolExecutor(cores(), context, initializer=gc.freeze) as pool:
            return cast(list[Made], list(pool.map(_made, range(count), chunksize=piece)))
    finally:
        _make = previous


def possible() -> bool:
    """Whether there is anything to be gained, and a way to do it."""
    return cores() > 1 and "fork" in multiprocessing.get_all_start_methods()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _made(number: int) -> object:
    assert _make is not None
    return _make(number)

"""Figures drawn on all cores where there are many: each is independent of the others."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from cegppo_verl.reporting.figures import Plot

MANY = 12  # fewer are drawn before the processes would have started
_waiting: Sequence[Plot] = ()  # inherited by the forked processes, so that no plot is pickled


def draw(plots: Sequence[Plot]) -> None:
    """Fill every plot's ``files``, ``inline`` and ``drawn``; the bytes are those that one process makes."""
    global _waiting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if len(plots) < MANY or cores < 2 or "fork" not in multiprocessing.get_all_start_methods():
        return  # they are drawn when they are asked for
    _waiting = plots
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(cores, mp_context=context) as pool:
            for plot, made in zip(plots, pool.map(_made, range(len(plots))), strict=True):
                vars(plot).update(made)  # where cached_property keeps it
    finally:
        _waiting = ()


def _made(number: int) -> dict[str, object]:
    plot = _waiting[number]
    return {"files": plot.files, "inline": plot.inline, "drawn": plot.drawn}

"""Arms that differ in more than the method, runs that exist twice, and too few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.lint.finding import Finding, Look, Rule, dual_clip_of, names
from cegppo_verl.experiment.settings import Settings

# What an arm may spend, and the words for it.
_BUDGETS: dict[str, Callable[[Settings], object]] = {
    "training steps": lambda s: s.total_steps,
    "rollouts per step": lambda s: s.rollouts_per_step,
    "response length": lambda s: s.max_response_length,
    "optimiser updates per step": lambda s: s.updates_per_step,
    "training prompts": lambda s: "all" if s.train_prompts is None else s.train_prompts,
    "steps between evaluations": lambda s: s.eval.every,
    "samples per problem": lambda s: s.eval.samples,
    "benchmarks": lambda s: " + ".join(f"{b.name}:{b.problems or 'all'}" for b in s.eval.benchmarks),
}


def _unequal(look: Look) -> Iterator[Finding]:
    for scale, cells in look.by_scale.items():
        for what, of in _BUDGETS.items():
            arms: dict[object, list[str]] = {}
            for cell in cells:
                arms.setdefault(of(cell.settings), []).append(cell.arm)
            if len(arms) > 1:
                shown = "; ".join(f"{value} ({names(group)})" for value, group in list(arms.items())[:4])
                more = f"; {len(arms) - 4} more" if len(arms) > 4 else ""
                text = f"{scale}: arms differ in {what}: {shown}{more}"
                yield Finding("warning", "arms", text, "fine only if that is the question")


def _twice(look: Look) -> Iterator[Finding]:
    cells = sorted(look.cells, key=lambda cell: cell.id)
    for _, group in groupby(cells, key=lambda cell: cell.id):
        same = list(group)
        if len(same) > 1:
            labels = names(f"{cell.arm} at {cell.scale}, seed {cell.seed}" for cell in same)
            yield Finding("info", same[0].arm, f"one run serves {len(same)} cells: {labels}")


def _elsewhere(look: Look) -> Iterator[Finding]:
    if look.recorded is None:
        return
    shared: dict[str, list[Cell]] = {}
    for cell in look.cells:
        place = look.recorded.place(cell)
        if place is not None and place.parent.name != cell.grid:
            shared.setdefault(place.parent.name, []).append(cell)
    for grid, cells in shared.items():
        some = "cell is" if len(cells) == 1 else "cells are"
        arms = names(cell.arm for cell in cells)
        yield Finding(
            "info", "arms", f"{len(cells)} {some} also in grid '{grid}' and used from there: {arms}"
        )


def _dual_clips_differ(look: Look) -> Iterator[Finding]:
    values: dict[str, list[str]] = {}
    for cell in look.arms:
        if (value := dual_clip_of(cell)) is not None:
            values.setdefault(value, []).append(cell.arm)
    if len(values) > 1:
        shown = "; ".join(f"{value} ({names(arms)})" for value, arms in values.items())
        message = f"arms differ in the dual clip too: {shown}: a second difference besides the method"
        yield Finding("info", "arms", message, "set dual_clip alike to compare the methods alone")


def _one_seed(look: Look) -> Iterator[Finding]:
    arms: Sequence[str] = list(dict.fromkeys(cell.arm for cell in look.cells))
    if len(look.grid.seeds) == 1 and len(arms) > 1:
        message = "one seed: a difference between arms cannot be told from the difference between two seeds"
        yield Finding("info", "seeds", message, "add seeds before drawing conclusions")


RULES: tuple[Rule, ...] = (_unequal, _twice, _elsewhere, _dual_clips_differ, _one_seed)

"""Hyper-parameters of the losses that do nothing, or not what their value suggests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cegppo_verl.experiment.algorithms import algorithm
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.lint.finding import Finding, Look, Rule, dual_clip_of, names
from cegppo_verl.experiment.recorded import Run, sample
from cegppo_verl.losses import schedule
from cegppo_verl.losses.loss import Interval
from cegppo_verl.losses.parameters import EPSILON_LOWEST, from_values, specs

# A sequence's length-normalised ratio moves by 1e-4 where token ratios move by 0.1 (GSPO, arXiv 2507.18071).
SEQUENCE_HIGHEST = 0.05
# The region of losses/regions.py in which each β of CE-GPPO acts.
REGION_OF = {"beta1": "neg_below", "beta2": "pos_above"}


def _one_update(look: Look) -> Iterator[Finding]:
    for scale, cells in look.by_scale.items():
        inert = [cell.arm for cell in cells if cell.settings.updates_per_step == 1]
        if not inert:
            continue
        every = len(inert) == len(cells)
        where = scale if every else f"{scale}, {names(inert)}"
        end = "all arms are the same run" if every else "such arms are the same run"
        yield Finding(
            "warning",
            "settings.mini_batch_size",
            f"{where}: one update per rollout batch, so every ratio is 1 and no clip, ε or β can act: {end}",
            "use a smaller mini_batch_size or more ppo_epochs",
        )


def _never_outside(look: Look) -> Iterator[Finding]:
    """β without tokens to act on, as far as earlier runs can tell."""
    for cell in look.arms:
        mine = [name for name in REGION_OF if _largest(cell.params.get(name)) > 0]
        if look.recorded is None or not mine or cell.settings.updates_per_step == 1:
            continue
        runs = sample(list(_alike(cell, look.recorded.runs(cell.scale))))
        for name in mine:
            tokens, outside = _count(runs, REGION_OF[name])
            if tokens > 0 and outside == 0:
                text = (
                    f"{name} cannot act: no token was there ({REGION_OF[name]}) in {len(runs)} earlier runs"
                )
                yield Finding("warning", cell.arm, text, "more updates per rollout batch, or a smaller ε")


def _largest(value: object) -> float:
    if isinstance(value, Mapping):
        return max(value.values(), default=0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _alike(cell: Cell, runs: Iterable[Run]) -> Iterator[Run]:
    """Runs with the same updates and learning rate, and an interval that is no wider than the cell's."""
    wanted, mine = cell.settings, _interval(cell.algorithm, cell.params)
    same = (
        "task",
        "train_batch_size",
        "rollouts_per_prompt",
        "mini_batch_size",
        "ppo_epochs",
        "learning_rate",
    )
    for run in runs:
        if mine is None or any(run.settings.get(name) != getattr(wanted, name) for name in same):
            continue
        theirs = _interval(str(run.cell.get("algorithm")), run.cell["params"])
        if theirs is not None and _no_wider(theirs, mine):
            yield run


def _no_wider(one: Interval, other: Interval) -> bool:
    sides = one.epsilon_low <= other.epsilon_low and one.epsilon_high <= other.epsilon_high
    return one.level == other.level and sides


def _count(runs: Iterable[Run], region: str) -> tuple[float, float]:
    """Sums of the logged counts: all tokens, and those in a region; only of runs that logged both."""
    totals = [0.0, 0.0]
    for run in runs:
        tokens, outside = run.values("actor/anatomy/tokens"), run.values(f"actor/anatomy/{region}")
        if tokens and outside:
            totals[0] += sum(tokens)
            totals[1] += sum(outside)
    return totals[0], totals[1]


def _interval(name: str, params: Mapping[str, Any]) -> Interval | None:
    """The clip interval of an algorithm at the first step; None where it has none, or cannot be told."""
    try:
        loss = algorithm(name)
        found = loss.interval(from_values(loss.params, schedule.starting_values(params)))
    except Exception:  # a record of an algorithm that has changed or gone; this is only a remark
        return None
    return None if found.reference else found


def _scale_of_epsilon(look: Look) -> Iterator[Finding]:
    for cell in look.arms:
        interval = _interval(cell.algorithm, cell.params)
        if interval is None:
            continue
        for side, value in (("low", interval.epsilon_low), ("high", interval.epsilon_high)):
            if interval.level == "sequence" and SEQUENCE_HIGHEST < value < float("inf"):
                text = f"ε_{side} = {value:g} is the size for tokens, but this loss clips whole sequences"
                yield Finding("warning", cell.arm, text, "a sequence's mean ratio moves by 1e-4: use 3e-4")
            elif interval.level == "token" and 0 < value < EPSILON_LOWEST:
                text = f"ε_{side} = {value:g} is the size for sequences, but this loss clips tokens"
                yield Finding("warning", cell.arm, text, "nearly every token is outside: use about 0.2")


def _looks_like_a_bound(look: Look) -> Iterator[Finding]:
    for cell in look.arms:
        for name, value in cell.params.items():
            limit = 0.5 if name in ("epsilon", "epsilon_low") else 1.0
            if not (name.startswith("epsilon") and isinstance(value, float) and value >= limit):
                continue
            spec = specs(algorithm(cell.algorithm).params)[name]
            if value not in (spec.default, spec.example):
                hint = f"for the bound {value:g} write {abs(value - 1):.3g}"
                yield Finding(
                    "warning", cell.arm, f"{name} = {value:g} looks like a bound, not a distance from 1", hint
                )


def _beta_above_one(look: Look) -> Iterator[Finding]:
    for cell in look.arms:
        for name in ("beta1", "beta2"):
            value = cell.params.get(name)
            if isinstance(value, float) and value > 1:
                message = f"{name} > 1: a token outside the interval weighs more than one at its edge"
                yield Finding("warning", cell.arm, message, "the paper stays within [0, 1]")


def _same_function(look: Look) -> Iterator[Finding]:
    seen: dict[tuple[object, ...], str] = {}
    for cell in look.arms:
        clip = _clip(cell)
        key = (cell.scale, clip, cell.settings.model_dump_json())
        if clip is not None and seen.setdefault(key, cell.arm) != cell.arm:
            message = (
                f"'{cell.arm}' is the same function as '{seen[key]}'; only sampling noise tells them apart"
            )
            yield Finding("warning", cell.arm, message, "remove one of the two")


def _clip(cell: Cell) -> tuple | None:
    """(ε_low, ε_high, c) where the arm is PPO-clip, whatever it is called."""
    params = cell.params
    if cell.algorithm not in ("grpo", "dapo", "cegppo") or params.get("beta1") or params.get("beta2"):
        return None
    low, high = (params.get(name, params.get("epsilon")) for name in ("epsilon_low", "epsilon_high"))
    return str(low), str(high), dual_clip_of(cell)


def _two_entropy_bonuses(look: Look) -> Iterator[Finding]:
    for cell in look.arms:
        if "entropy_coeff" in cell.params and cell.settings.entropy_coeff:
            message = (
                f"{cell.arm} sets the entropy coefficient itself: settings.entropy_coeff does nothing there"
            )
            yield Finding("warning", "settings.entropy_coeff", message, "leave one of the two out")


def _rollout_top_p(look: Look) -> Iterator[Finding]:
    if any(cell.settings.top_p < 1 for cell in look.arms):
        message = "rollouts are cut off at top_p, but the trainer's probabilities are not: ratios are biased"
        yield Finding("warning", "settings.top_p", message, "use top_p: 1.0 for training")


RULES: tuple[Rule, ...] = (
    _one_update,
    _never_outside,
    _scale_of_epsilon,
    _looks_like_a_bound,
    _beta_above_one,
    _same_function,
    _rollout_top_p,
    _two_entropy_bonuses,
)

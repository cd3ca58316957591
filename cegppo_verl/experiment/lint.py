"""Settings that are legal and probably not meant: knobs that do nothing, arms that differ in two things."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.algorithms import algorithm
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.grid import Grid
from cegppo_verl.losses.parameters import specs


@dataclass(frozen=True)
class Finding:
    """A remark about a grid; it never stops a run.

    Args:
        level: "warning" means the result is likely not what was asked for; "info" belongs in the report.
        key: where in the grid file, or the arm.
    """

    level: Literal["warning", "info"]
    key: str
    message: str
    hint: str = ""


def lint(grid: Grid, cells: Sequence[Cell]) -> list[Finding]:
    """Every finding of a grid, warnings first; the same remark about several seeds is made once."""
    first_seed = [cell for cell in cells if cell.seed == grid.seeds[0]]
    found = [finding for rule in _RULES for finding in rule(grid, first_seed)]
    return sorted(dict.fromkeys(found), key=lambda finding: finding.level != "warning")


def _one_update(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    for cell in cells:
        if cell.settings.updates_per_step == 1:
            yield Finding(
                "warning",
                "settings.mini_batch_size",
                f"{cell.scale}: one update per rollout batch, so every ratio is 1 and no clip, ε or β "
                "can act: all arms are the same run",
                "use a smaller mini_batch_size or more ppo_epochs",
            )


def _looks_like_a_bound(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    for cell in cells:
        for name, value in cell.params.items():
            limit = 0.5 if name in ("epsilon", "epsilon_low") else 1.0
            meant = value == specs(algorithm(cell.algorithm).params)[name].default
            if name.startswith("epsilon") and isinstance(value, float) and value >= limit and not meant:
                hint = f"for the bound {value:g} write {abs(value - 1):.3g}"
                yield Finding(
                    "warning", cell.arm, f"{name} = {value:g} looks like a bound, not a distance from 1", hint
                )


def _beta_above_one(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    for cell in cells:
        for name in ("beta1", "beta2"):
            value = cell.params.get(name)
            if isinstance(value, float) and value > 1:
                message = f"{name} > 1: a token outside the interval weighs more than one at its edge"
                yield Finding("warning", cell.arm, message, "the paper stays within [0, 1]")


def _same_function(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    seen: dict[tuple[str, object], str] = {}
    for cell in cells:
        key = (cell.scale, _clip(cell))
        if None not in key and seen.setdefault(key, cell.arm) != cell.arm:
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
    return low, high, params["dual_clip"]


def _dual_clips_differ(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    values = {cell.arm: cell.params["dual_clip"] for cell in cells if "dual_clip" in cell.params}
    if len(set(values.values())) > 1:
        shown = ", ".join(f"{arm} {value or 'off'}" for arm, value in values.items())
        message = f"arms differ in the dual clip too ({shown}): a second difference besides the method"
        yield Finding("info", "arms", message, "set dual_clip alike to compare the methods alone")


def _two_entropy_bonuses(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    for cell in cells:
        if "entropy_coeff" in cell.params and cell.settings.entropy_coeff:
            message = (
                f"{cell.arm} sets the entropy coefficient itself: settings.entropy_coeff does nothing there"
            )
            yield Finding("warning", "settings.entropy_coeff", message, "leave one of the two out")


def _one_seed(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    if len(grid.seeds) == 1 and len(grid.arms) > 1:
        message = "one seed: a difference between arms cannot be told from the difference between two seeds"
        yield Finding("info", "seeds", message, "add seeds before drawing conclusions")


def _rollout_top_p(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    for cell in cells:
        if cell.settings.top_p < 1:
            message = (
                "rollouts are cut off at top_p, but the trainer's probabilities are not: ratios are biased"
            )
            yield Finding("warning", "settings.top_p", message, "use top_p: 1.0 for training")


def _repeated_data(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    for cell in cells:
        settings = cell.settings
        if settings.train_prompts is None:
            continue
        passes = settings.total_steps * settings.train_batch_size / settings.train_prompts
        if passes > 1:
            yield Finding(
                "info",
                "settings.train_prompts",
                f"{cell.scale}: every prompt is trained on {passes:.1f} times",
            )


def _deviations(grid: Grid, cells: Sequence[Cell]) -> Iterator[Finding]:
    for name in dict.fromkeys(grid.preset or catalog.scale(scale).preset for scale in grid.scales):
        for text in catalog.preset(name).deviations:
            yield Finding("info", f"preset {name}", f"not reproduced: {text}")


_RULES: tuple[Callable[[Grid, Sequence[Cell]], Iterator[Finding]], ...] = (
    _one_update,
    _looks_like_a_bound,
    _beta_above_one,
    _same_function,
    _rollout_top_p,
    _two_entropy_bonuses,
    _dual_clips_differ,
    _one_seed,
    _repeated_data,
    _deviations,
)

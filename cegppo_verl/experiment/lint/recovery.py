"""What a killed run would lose, batches that do not split, and stop rules that never fire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cegppo_verl.errors import did_you_mean
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.lint.finding import Finding, Look, Rule
from cegppo_verl.experiment.recorded import sample

LEAST_STEPS = 10  # a shorter run is repeated at no great loss
MOST_HOURS = 2.0  # of work that a kill may cost


def _checkpoints(look: Look) -> Iterator[Finding]:
    for cell in look.arms:
        settings, every = cell.settings, cell.settings.checkpoint.every
        lost = min(every, settings.total_steps)
        hours = _hours(look, cell, lost)
        cost = f", about {hours:.1f} h" if hours else ""
        if settings.total_steps >= LEAST_STEPS and 2 * lost > settings.total_steps:
            text = f"{cell.scale}: a kill loses up to {lost} of {settings.total_steps} steps{cost}"
        elif hours and hours > MOST_HOURS:
            text = f"{cell.scale}: a kill loses up to {lost} steps{cost}"
        else:
            continue
        yield Finding("warning", "settings.checkpoint.every", text, "save checkpoints more often")


def _hours(look: Look, cell: Cell, steps: int) -> float | None:
    step = look.costs.estimate(cell).step_seconds if look.costs else None
    return None if step is None else steps * step / 3600


def _misaligned(look: Look) -> Iterator[Finding]:
    """A resume repeats every evaluation after the checkpoint; where the periods do not meet, always some."""
    for cell in look.arms:
        save, test, total = (
            cell.settings.checkpoint.every,
            cell.settings.eval.every,
            cell.settings.total_steps,
        )
        if save < total and test < total and save % test and test % save:
            text = f"{cell.scale}: evaluations every {test} steps and checkpoints every {save} seldom meet"
            hint = "make one a multiple of the other: a resumed run then repeats less"
            yield Finding("info", "settings.checkpoint.every", text, hint)


def _shards(look: Look) -> Iterator[Finding]:
    for cell in look.arms:
        hardware, settings = catalog.scale(cell.scale).hardware, cell.settings
        for name, size in (
            ("tensor_parallel", hardware.tensor_parallel),
            ("sequence_parallel", hardware.sequence_parallel),
        ):
            if hardware.gpus % size:
                text = f"{name} {size} does not divide the {hardware.gpus} GPUs of the scale"
                yield Finding("warning", cell.scale, text, "change the scale's hardware")
        shards = max(1, hardware.gpus // hardware.sequence_parallel)
        share, micro = (
            settings.mini_batch_size * settings.rollouts_per_prompt // shards,
            settings.micro_batch_size,
        )
        if micro is not None and share % micro:
            text = f"{cell.scale}: a shard's {share} sequences of a mini-batch are no multiple of {micro}"
            yield Finding("warning", "settings.micro_batch_size", text, f"use a divisor of {share}")


def _stop_rules(look: Look) -> Iterator[Finding]:
    rules = getattr(look.grid, "early_stop", None) or ()
    if not rules or look.recorded is None:
        return
    known = _logged(look)
    if not known:
        yield Finding("info", "early_stop", "not checked whether its metrics are logged: no earlier run")
        return
    for index, rule in enumerate(rules):
        metric = _metric(rule)
        if metric and metric not in known:
            hint = did_you_mean(metric, known)
            text = f"'{metric}' is in no earlier run: the rule never fires"
            yield Finding("warning", f"early_stop[{index}]", text, hint)


def _metric(rule: Any) -> str | None:
    return rule.get("metric") if isinstance(rule, dict) else getattr(rule, "metric", None)


def _logged(look: Look) -> set[str]:
    """Metric names of earlier runs: of the grid's own scales where they have runs, else of any."""
    assert look.recorded is not None
    mine = [scale for scale in look.by_scale if look.recorded.runs(scale)]
    runs = [run for scale in mine or look.recorded.scales() for run in sample(look.recorded.runs(scale))]
    return {key for run in runs for key in run.metric_names()}


RULES: tuple[Rule, ...] = (_checkpoints, _misaligned, _shards, _stop_rules)

"""How long a cell takes and what it costs, and what that is known from: earlier runs, or a cited reference.

A number that nothing supports is None, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from pydantic import Field

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.recorded import Recorded, Run, sample
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.experiment.validation import Strict, validate
from cegppo_verl.experiment.yaml_file import read_yaml
from cegppo_verl.records.rundir import RunDir

REFERENCES = catalog.FOLDER / "step_times.yaml"
NO_BASIS = "no basis, for no run is recorded and no step time is cited; a short run gives one"
BATCH = ("train_batch_size", "rollouts_per_prompt", "mini_batch_size", "ppo_epochs", "micro_batch_size")
LENGTHS = ("task", "max_prompt_length", "max_response_length")

Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Estimate:
    """What a cell takes from its beginning, or from ``done_steps`` on.

    Attributes:
        step_seconds: per training step, evaluations apart; None without a basis.
        startup_seconds: from the start of an attempt to its first step, and its end; 0 where never measured.
        hours: wall-clock of the cell; None without a basis.
        gpu_hours: hours × GPUs; 0 on a CPU scale, which uses none; None without a basis.
        basis: what the numbers are known from, one line.
    """

    step_seconds: float | None
    startup_seconds: float
    hours: float | None
    gpu_hours: float | None
    basis: str


class Reference(Strict):
    """A step time that somebody stated."""

    scale: str
    source: str
    machine: str
    step_seconds: Seconds
    evaluation_seconds: Seconds | None = None
    evaluation_samples: int | None = None
    startup_seconds: Annotated[float, Field(ge=0)] = 0.0
    settings: dict[str, Any] = Field(description="the batch and length settings it holds for")


class _References(Strict):
    entries: list[Reference]


@dataclass(frozen=True)
class _Pace:
    """Seconds per step, of it in updates, per evaluated answer, and per attempt; and where they come from."""

    step: float
    update: float
    answer: float | None
    startup: float
    basis: str


@cache
def references() -> dict[str, Reference]:
    """The stated step times by scale."""
    document = read_yaml(REFERENCES)
    return {entry.scale: entry for entry in validate(_References, document.data, document).entries}


def estimate(cell: Cell, results: Path, index: Recorded | None = None, done_steps: int = 0) -> Estimate:
    """What is left of a cell.

    Args:
        index: of ``results``, made once for many cells; None makes it here.
        done_steps: steps that need not be repeated.
    """
    return Costs(index or Recorded(results)).estimate(cell, done_steps)


class Costs:
    """Estimates for many cells: cells with the same scale and settings share one look at the records."""

    def __init__(self, index: Recorded) -> None:
        self.index = index
        self._paces: dict[tuple, _Pace | None] = {}
        # By id() of the settings, which the cells of an arm share; kept, so that it stays theirs.
        self._known: dict[tuple[int, str, int], tuple[Settings, Estimate]] = {}

    def estimate(self, cell: Cell, done_steps: int = 0) -> Estimate:
        """As the function :func:`estimate`."""
        key = (id(cell.settings), cell.scale, done_steps)
        if key not in self._known:
            self._known[key] = cell.settings, self._estimate(cell, done_steps)
        return self._known[key][1]

    def _estimate(self, cell: Cell, done_steps: int) -> Estimate:
        gpus = gpus_of(cell)
        pace = self._pace(cell)
        if pace is None:
            return Estimate(None, 0.0, None, None if gpus else 0.0, NO_BASIS)
        hours = _seconds(cell.settings, pace, done_steps) / 3600
        return Estimate(pace.step, pace.startup, hours, hours * gpus, pace.basis)

    def _pace(self, cell: Cell) -> _Pace | None:
        key = (cell.scale, *_values(cell.settings, (*LENGTHS, *BATCH, "kl_loss_coef")))
        if key not in self._paces:
            self._paces[key] = _measured(cell, self.index) or _referenced(cell)
        return self._paces[key]


def gpus_of(cell: Cell) -> int:
    """GPUs that the cell occupies; 0 on a CPU scale, whose "GPU" is only Ray's."""
    scale = catalog.scale(cell.scale)
    return scale.hardware.gpus if scale.platform == "cuda" else 0


def evaluations_left(settings: Settings, done_steps: int = 0) -> int:
    """Evaluations after ``done_steps``, that of the last step included, and step 0's when nothing is done."""
    every, total = settings.eval.every, settings.total_steps
    planned = total // every + (total % every > 0)
    return max(0, planned - done_steps // every) + (settings.eval.at_start and done_steps == 0)


def _seconds(settings: Settings, pace: _Pace, done: int) -> float:
    if done >= settings.total_steps:
        return 0.0
    answers = _answers(settings) * evaluations_left(settings, done)
    return pace.startup + (settings.total_steps - done) * pace.step + (pace.answer or 0.0) * answers


def _answers(settings: Settings) -> int:
    """Answers sampled in one evaluation."""
    return sum(catalog.problem_count(settings.task, b) * b.samples for b in settings.eval.benchmarks)


def _values(settings: Settings, names: Sequence[str]) -> tuple:
    return tuple(getattr(settings, name) for name in names)


def _measured(cell: Cell, index: Recorded) -> _Pace | None:
    """From the runs of the same scale whose batch is nearest to the cell's; lengths must be the same."""
    wanted = cell.settings
    groups: dict[tuple, list[Run]] = {}
    for run in index.runs(cell.scale):
        same_kl = (run.settings.get("kl_loss_coef", 0) > 0) == (wanted.kl_loss_coef > 0)
        if same_kl and all(run.settings.get(name) == getattr(wanted, name) for name in LENGTHS):
            groups.setdefault(tuple(run.settings.get(name) for name in BATCH), []).append(run)
    for batch in sorted(groups, key=lambda batch: _distance(batch, _values(wanted, BATCH))):
        pace = _pace_of(sample(groups[batch]), len(groups[batch]))
        if pace is not None:
            return _scaled(pace, dict(zip(BATCH, batch, strict=True)), wanted)
    return None


def _distance(batch: Sequence[Any], wanted: Sequence[Any]) -> tuple[bool, float, float]:
    """Exact first; then the number of rollouts, then the number of epochs."""
    work = batch[0] * batch[1], wanted[0] * wanted[1]
    return batch != wanted, abs(math.log(work[0] / work[1])), abs(math.log(batch[3] / wanted[3]))


def _pace_of(runs: Sequence[Run], known: int) -> _Pace | None:
    steps = [(run, values) for run in runs if (values := run.values("timing_s/step"))]
    if not steps:
        return None
    grids = sorted({run.path.parent.as_posix() for run, _ in steps})
    place = grids[0] if len(grids) == 1 else f"{grids[0]} and {len(grids) - 1} more folders"
    count = f"{len(steps)} of {known} runs" if known > len(steps) else f"{known} run{'s' * (known > 1)}"
    answer = _answer_seconds([run for run, _ in steps])
    missing = "" if answer is not None else "; evaluation never measured, left out"
    return _Pace(
        step=median(median(values) for _, values in steps),
        update=_update_seconds([run for run, _ in steps]),
        answer=answer,
        startup=_startup([run for run, _ in steps], answer),
        basis=f"measured: {count} of {_scale(steps[0][0])} in {place}{_machine(steps[0][0])}{missing}",
    )


def _update_seconds(runs: Sequence[Run]) -> float:
    found = [median(values) for run in runs if (values := run.values("timing_s/update_actor"))]
    return median(found) if found else 0.0


def _scale(run: Run) -> str:
    return str(run.cell.get("scale"))


def _machine(run: Run) -> str:
    cores = RunDir(run.path).manifest().get("hardware", {}).get("cores")
    return f" on {cores} cores" if cores else ""


def _answer_seconds(runs: Sequence[Run]) -> float | None:
    found = [(run, values) for run in runs if (values := run.values("timing_s/testing"))]
    answers = [median(values) / size for run, values in found if (size := _recorded_answers(run.settings))]
    return median(answers) if answers else None


def _recorded_answers(settings: dict[str, Any]) -> int:
    """Answers per evaluation of a recorded cell; 0 when its file does not say."""
    known = catalog.tasks().get(str(settings.get("task")))
    total = 0
    for benchmark in settings.get("eval", {}).get("benchmarks", ()):
        source = known.benchmarks.get(benchmark["name"]) if known else None
        total += (benchmark.get("problems") or (source.problems if source else 0)) * benchmark["samples"]
    return total


def _startup(runs: Sequence[Run], answer: float | None) -> float:
    """Start-up without the evaluation at step 0, which verl does not time."""
    found = []
    for run in runs:
        if (overhead := run.overhead) is not None:
            first = _recorded_answers(run.settings) if run.settings["eval"].get("at_start") else 0
            found.append(max(0.0, overhead - first * (answer or 0.0)))
    return median(found) if found else 0.0


def _referenced(cell: Cell) -> _Pace | None:
    entry = references().get(cell.scale)
    if entry is None or any(entry.settings.get(name) != getattr(cell.settings, name) for name in LENGTHS):
        return None
    answer = None
    if entry.evaluation_seconds and entry.evaluation_samples:
        answer = entry.evaluation_seconds / entry.evaluation_samples
    basis = f"reference: {entry.source}, on {entry.machine}"
    pace = _Pace(entry.step_seconds, 0.0, answer, entry.startup_seconds, basis)
    return _scaled(pace, entry.settings, cell.settings)


def _scaled(pace: _Pace, batch: dict[str, Any], wanted: Settings) -> _Pace:
    """For another batch: rollouts and epochs in proportion; what else differs is said, not computed."""
    had = batch["train_batch_size"] * batch["rollouts_per_prompt"]
    rollouts, epochs = wanted.rollouts_per_step / had, wanted.ppo_epochs / batch["ppo_epochs"]
    step = (pace.step + pace.update * (epochs - 1)) * rollouts
    notes = [f"scaled by rollouts per step, {had} → {wanted.rollouts_per_step}"] if rollouts != 1 else []
    if epochs != 1:
        how = "updates scaled" if pace.update else "updates not scaled"
        notes.append(f"{how} by epochs, {batch['ppo_epochs']} → {wanted.ppo_epochs}")
    if any(batch[name] != getattr(wanted, name) for name in ("mini_batch_size", "micro_batch_size")):
        notes.append("with other mini- or micro-batches")
    return replace(pace, step=step, basis="; ".join([pace.basis, *notes]))

"""How far a cell is, read from its files: steps logged, evaluations complete, checkpoints to resume from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cegppo_verl.records.rundir import RunDir


@dataclass(frozen=True)
class LoggedStep:
    """One line of verl's metric log."""

    step: int
    data: dict[str, float]


def read_steps(metrics_file: Path) -> list[LoggedStep]:
    """Complete lines of a metric log in file order; a half-written or garbled line is skipped."""
    try:
        lines = metrics_file.read_bytes().split(b"\n")
    except OSError:
        return []
    return [step for line in lines if (step := parse_line(line)) is not None]


def parse_line(line: bytes) -> LoggedStep | None:
    """One line of a metric log; None when it is not one."""
    try:
        entry = json.loads(line)
        step, data = entry["step"], entry["data"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return LoggedStep(step, data) if type(step) is int and type(data) is dict else None


def is_training_step(step: LoggedStep) -> bool:
    """Whether the line records an update; a validation-only line at a resumed step does not."""
    return step.step > 0 and "training/global_step" in step.data


def trained_steps(run: RunDir) -> set[int]:
    """Steps whose training metrics are recorded.

    What an attempt logged beyond the point where a later one resumed is another trajectory: it does not
    count, so that no cell is done with steps of two trainings.
    """
    steps: set[int] = set()
    for attempt in run.attempts():
        resumed_from = attempt.record().get("resumed_from")
        if isinstance(resumed_from, int):
            steps = {step for step in steps if step <= resumed_from}
        steps |= {s.step for s in read_steps(attempt.metrics_file) if is_training_step(s)}
    return steps


def planned_evaluations(cell: dict[str, Any]) -> list[int]:
    """Steps at which verl validates: every ``eval.every`` steps, the last one, and 0 when asked for."""
    settings = cell["settings"]
    total, evaluation = settings["total_steps"], settings["eval"]
    every = evaluation["every"]
    steps = {s for s in range(1, total + 1) if every > 0 and s % every == 0}
    if every > 0:
        steps.add(total)
    if evaluation.get("at_start"):
        steps.add(0)
    return sorted(steps)


def planned_samples(cell: dict[str, Any]) -> int:
    """Samples in one complete evaluation: Σ problems × samples; 0 when a benchmark's size is unknown."""
    benchmarks = cell["settings"]["eval"]["benchmarks"]
    if any(b.get("problems") is None for b in benchmarks):
        return 0
    return sum(b["problems"] * b["samples"] for b in benchmarks)


def is_evaluated(run: RunDir, cell: dict[str, Any], step: int) -> bool:
    """Whether the validation dump of ``step`` is complete."""
    return is_complete_dump(run.validation / f"{step}.jsonl", planned_samples(cell))


def is_complete_dump(file: Path, samples: int) -> bool:
    """Whether a validation dump holds ``samples`` complete lines, at least one."""
    try:
        data = file.read_bytes()
    except OSError:
        return False
    return data.endswith(b"\n") and data.count(b"\n") >= max(samples, 1)


@dataclass(frozen=True)
class Goal:
    """What has to be recorded before a cell is done.

    Attributes:
        total: planned steps.
        evaluation: step of the final evaluation; None when none is planned.
        samples: lines of a complete evaluation; 0 when unknown.
    """

    total: int
    evaluation: int | None
    samples: int

    @classmethod
    def of(cls, cell: dict[str, Any]) -> Goal:
        """The goal of a resolved cell, or of any object with its ``settings``."""
        planned = planned_evaluations(cell)
        return cls(
            int(cell["settings"]["total_steps"]), planned[-1] if planned else None, planned_samples(cell)
        )

    def missing(self, run: RunDir, trained: set[int]) -> str | None:
        """Why ``run`` has not reached it, with the steps that count as ``trained``; None when it has."""
        absent = next((step for step in range(1, self.total + 1) if step not in trained), None)
        if absent is not None:
            return f"step {absent} of {self.total} is not logged"
        if self.evaluation is None:
            return None
        if not is_complete_dump(run.validation / f"{self.evaluation}.jsonl", self.samples):
            return f"the final evaluation (step {self.evaluation}) is not complete"
        return None


def missing(run: RunDir, cell: dict[str, Any]) -> str | None:
    """Why the cell is not done; None when every step is logged and the last evaluation complete."""
    return Goal.of(cell).missing(run, trained_steps(run))


def resume_point(run: RunDir, cell: dict[str, Any]) -> int:
    """The newest checkpoint from which no step is lost and none is skipped; 0: from scratch.

    verl saves a checkpoint before it validates and logs the step. Killed in between, its own
    ``resume_mode=auto`` would go on at the next step and leave a hole in the curves, so a checkpoint counts
    only if all steps up to it are logged and its evaluation, if planned, is complete.
    """
    logged, evaluations = trained_steps(run), set(planned_evaluations(cell))
    for step in sorted(complete_checkpoints(run), reverse=True):
        has_steps = set(range(1, step + 1)) <= logged
        if has_steps and (step not in evaluations or is_evaluated(run, cell, step)):
            return step
    return 0


def complete_checkpoints(run: RunDir) -> list[int]:
    """Steps with a finished checkpoint; verl writes the tracker file last, so newer ones may be partial.

    Of checkpoints beyond ``max_actor_ckpt_to_keep`` verl 0.9.1 removes the model and leaves ``data.pt``.
    """
    newest = _tracked(run.checkpoints / "latest_checkpointed_iteration.txt")
    folders = [p.parent for p in run.checkpoints.glob("global_step_*/data.pt")]
    names = [f.name for f in folders if all(any(f.glob(f"actor/{part}_*.pt")) for part in ("model", "optim"))]
    steps = [int(n.removeprefix("global_step_")) for n in names if n.removeprefix("global_step_").isdigit()]
    return sorted(s for s in steps if s <= newest)


def _tracked(file: Path) -> float:
    """What the tracker says; 0 when it says nothing sensible.

    verl empties it and then writes the new step: a kill in between leaves an empty file, and every folder is
    complete. Starting from scratch would throw the run away.
    """
    try:
        text = file.read_text().strip()
        return int(text) if text else float("inf")
    except (OSError, ValueError):
        return 0

"""The problems: trained on and tested on, how often, and what of a cited recipe is not reproduced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.cell import Cell
from cegppo_verl.experiment.lint.finding import Finding, Look, Rule, names

DISJOINT = "train and validation share no problem: a hash of the problem puts each into one of two halves"


def _overlap(look: Look) -> Iterator[Finding]:
    """The same problem in training and test."""
    pairs = {(cell.settings.task, b.name): cell for cell in look.arms for b in cell.settings.eval.benchmarks}
    for task in dict.fromkeys(task for task, _ in pairs):
        if catalog.task(task).generated:
            yield Finding("info", f"task {task}", DISJOINT)
    for (task, benchmark), cell in pairs.items():
        if not catalog.task(task).generated:
            yield from _compared(look, cell, benchmark)


def _compared(look: Look, cell: Cell, benchmark: str) -> Iterator[Finding]:
    task = catalog.task(cell.settings.task)
    files = [task.train_file, task.benchmarks[benchmark].file]
    absent = [file for file in files if look.assets is None or not file or not (look.assets / file).is_file()]
    key = f"{task.name}, {benchmark}"
    if absent or look.assets is None:
        text = f"overlap of training and test not checked: {names(str(file) for file in absent)} absent"
        yield Finding("info", key, text)
        return
    train, test = (_problems(look.assets / str(file)) for file in files)
    if train is None or test is None:
        yield Finding("warning", key, "overlap of training and test not checked: a file is not readable")
    elif shared := train & test:
        text = f"{len(shared)} of {len(test)} test problems are in the training data: {next(iter(shared))[:40]}…"
        yield Finding("warning", key, text, "take them out of the training data")


@cache
def _problems(file: Path) -> frozenset[str] | None:
    """The prompts of a file in verl's format, without regard to case and white space; None: not readable."""
    try:
        prompts = _parquet(file) if file.suffix == ".parquet" else _jsonl(file)
        return frozenset(" ".join(_text(prompt).lower().split()) for prompt in prompts)
    except Exception:  # whatever pyarrow or json make of a damaged file; the run itself will say more
        return None


def _parquet(file: Path) -> list[Any]:
    import pyarrow.parquet as pq

    return pq.read_table(file, columns=["prompt"]).column("prompt").to_pylist()


def _jsonl(file: Path) -> list[Any]:
    return [json.loads(line)["prompt"] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _text(prompt: Any) -> str:
    """What the user says: instructions in a system turn do not make another problem."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(str(message["content"]) for message in prompt if message["role"] != "system")


def _repeated(look: Look) -> Iterator[Finding]:
    for cell in look.arms:
        settings = cell.settings
        if settings.train_prompts is None:
            continue
        passes = settings.total_steps * settings.train_batch_size / settings.train_prompts
        if passes > 1:
            text = f"{cell.scale}: every prompt is trained on {passes:.1f} times"
            yield Finding("info", "settings.train_prompts", text)


def _deviations(look: Look) -> Iterator[Finding]:
    grid = look.grid
    for name in dict.fromkeys(grid.preset or catalog.scale(scale).preset for scale in grid.scales):
        for text in catalog.preset(name).deviations:
            yield Finding("info", f"preset {name}", f"not reproduced: {text}")


RULES: tuple[Rule, ...] = (_overlap, _repeated, _deviations)

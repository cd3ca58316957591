"""The problems: trained on and tested on, how often, and what of a cited recipe is not reproduced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.lint.finding import Finding, Look, Rule, names

DISJOINT = "train and validation share no problem: a hash of it puts each into one half"


def _overlap(look: Look) -> Iterator[Finding]:
    """The same problem in training and test."""
    pairs = dict.fromkeys((c.settings.task, b.name) for c in look.arms for b in c.settings.eval.benchmarks)
    for task in dict.fromkeys(task for task, _ in pairs):
        if catalog.task(task).generated:
            yield Finding("info", f"task {task}", DISJOINT)
        else:
            yield from _real(task, [name for of, name in pairs if of == task], look.assets)


def _real(name: str, benchmarks: Sequence[str], assets: Path | None) -> Iterator[Finding]:
    task = catalog.task(name)
    files: dict[str | None, str | None] = {None: task.train_file}
    files |= {b: task.benchmarks[b].file for b in benchmarks}
    there = {
        key: assets / file for key, file in files.items() if assets and file and (assets / file).is_file()
    }
    absent = names((str(file) for key, file in files.items() if key not in there), most=2)
    if absent:
        text = f"overlap of training and test not checked, file absent: {absent}"
        yield Finding("info", f"task {name}", text)
    for benchmark in benchmarks:
        if None in there and benchmark in there:
            yield from _compared(f"{name}, {benchmark}", there[None], there[benchmark])


def _compared(key: str, train_file: Path, test_file: Path) -> Iterator[Finding]:
    train, test = _problems(train_file), _problems(test_file)
    if train is None or test is None:
        bad = train_file if train is None else test_file
        yield Finding("warning", key, f"overlap of training and test not checked: {bad.name} is not readable")
    elif shared := train & test:
        text = f"{len(shared)} of {len(test)} test problems are in the training data: {min(shared)[:40]}…"
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
    return [
        json.loads(line)["prompt"] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()
    ]


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

"""Which benchmarks of an evaluation are whole: stated for reports, taken back before that could be untrue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cegppo_verl.evaluation.plan import Task
from cegppo_verl.evaluation.session import Folders, still_missing
from cegppo_verl.records.evaluations import Whole, read_complete, write_complete


def take_back(tasks: Iterable[Task], folders: Folders) -> None:
    """Call it before answers are sampled: some would replace answers to another wording of a problem."""
    for folder, own in _by_folder(tasks, folders):
        stated = read_complete(folder)
        kept = {name: whole for name, whole in stated.items() if _still_asked(name, whole, own)}
        if kept != stated:
            write_complete(folder, kept)


def state(tasks: Iterable[Task], folders: Folders) -> None:
    """Call it when answers have been recorded: those of the tasks that have all of theirs are whole.

    What is stated already stays if it has more answers: a small call beside a large one changes no report.
    """
    for folder, own in _by_folder(tasks, folders):
        stated = read_complete(folder)
        short = {item.task.benchmark for item in still_missing(own, {t.decoding.hash: folder for t in own})}
        new = {task.benchmark: whole_of(task) for task in own if task.benchmark not in short}
        found = {**stated, **{n: w for n, w in new.items() if n not in stated or _replaces(w, stated[n])}}
        if found != stated:
            write_complete(folder, found)


def whole_of(task: Task) -> Whole:
    """What a task asks for."""
    return Whole(task.samples, {problem.id: problem.digest for problem in task.problems})


def _by_folder(tasks: Iterable[Task], folders: Folders) -> list[tuple[Path, list[Task]]]:
    tasks = list(tasks)
    return [(folder, [t for t in tasks if t.decoding.hash == name]) for name, folder in folders.items()]


def _still_asked(name: str, whole: Whole, tasks: Sequence[Task]) -> bool:
    return all(whole.agrees_with(whole_of(task).asked) for task in tasks if task.benchmark == name)


def _replaces(new: Whole, old: Whole) -> bool:
    return new.size >= old.size or not old.agrees_with(new.asked)

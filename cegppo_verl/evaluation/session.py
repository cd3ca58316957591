"""From an engine's answers to records on the disk, as they come; what is recorded survives anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from cegppo_verl.evaluation import shards
from cegppo_verl.evaluation.answers import Answer, Record, Who, is_current, record, regraded
from cegppo_verl.evaluation.plan import Item, Task, missing

GRADING_THREADS = 4  # they wait for the grader's processes
Folders = dict[str, Path]
"""decoding hash → folder"""


def still_missing(tasks: Sequence[Task], folders: Folders) -> list[Item]:
    """What is not recorded; reads the folders, writes nothing."""
    known = {
        (decoding, key, row["asked"])
        for decoding, folder in folders.items()
        for key, row in shards.load(folder).items()
        if row["decoding"] == decoding
    }
    return missing(tasks, known)


def to_regrade(tasks: Sequence[Task], folders: Folders) -> list[tuple[Record, Item]]:
    """Recorded answers with the verdict of another grader, or of another version of it."""
    loaded = {decoding: shards.load(folder) for decoding, folder in folders.items()}
    pairs = [
        (row, item)
        for task in tasks
        for item in task.items()
        if (row := loaded[task.decoding.hash].get(item.key)) is not None
        and row["asked"] == item.problem.digest
    ]
    return [(row, item) for row, item in pairs if not is_current(row, item)]


def regrade(pairs: Sequence[tuple[Record, Item]], folders: Folders) -> None:
    """Give these answers a verdict by the grader that is installed now; nothing is sampled again.

    Raises:
        UserError: as ``graders.grade``.
    """
    with ThreadPoolExecutor(GRADING_THREADS) as pool, ExitStack() as stack:
        opened = _opened(folders, stack)
        _write(opened, list(pool.map(lambda pair: regraded(*pair), pairs)))


def record_all(
    batches: Iterable[Sequence[Answer]],
    who: Who,
    folders: Folders,
    done: Callable[[Sequence[Record]], None] = lambda _: None,
) -> None:
    """Grade and record answers, batch by batch; a batch is on the disk before ``done`` is called with it.

    Raises:
        UserError: as ``graders.grade``, or out of the engine. Whatever is raised, earlier batches stay.
    """
    with ThreadPoolExecutor(GRADING_THREADS) as pool, ExitStack() as stack:
        opened = _opened(folders, stack)
        for batch in batches:
            records = list(pool.map(lambda answer: record(who, answer), batch))
            _write(opened, records)
            done(records)


def _opened(folders: Folders, stack: ExitStack) -> dict[str, shards.Shard]:
    return {decoding: stack.enter_context(shards.Shard(folder)) for decoding, folder in folders.items()}


def _write(opened: dict[str, shards.Shard], records: Sequence[Record]) -> None:
    for decoding, shard in opened.items():
        own = [row for row in records if row["decoding"] == decoding]
        if own:
            shard.append(own)

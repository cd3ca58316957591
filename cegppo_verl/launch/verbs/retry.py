"""``cegppo retry``: give cells that failed or were stopped another set of tries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cegppo_verl.launch.terminal_text import say
from cegppo_verl.launch.verbs import control
from cegppo_verl.launch.verbs.control import count
from cegppo_verl.launch.verbs.targets import Finder
from cegppo_verl.records import marks
from cegppo_verl.records.status import DONE, FAILED, LIVE, STOPPED

MOST_LINES = 20


def run(
    words: Sequence[str],
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    console: Console,
    *,
    arms: Sequence[str] | None = None,
) -> int:
    """Give cells that failed or were stopped another set of tries; they resume from their last checkpoint.

    Args:
        words: grid files, GRID#arm, ids, slugs or run directories.

    Returns:
        exit code 1 when none of the cells had failed or been stopped.

    Raises:
        UserError: a word names nothing, or a run directory cannot be written.
    """
    found = control.with_states(Finder(results, scale, seeds), words, arms)
    chosen = [(t, s) for t, s in found if s.state in (FAILED, STOPPED)]
    by = control.asker()
    for target, _ in chosen:
        control.write(target, lambda run=target.run: marks.request_retry(run, by))  # type: ignore[misc]
    for target, status in chosen[:MOST_LINES]:
        say(console, f"{target.slug}: was {status.text()}")
    if chosen:
        say(
            console,
            f"{count(len(chosen))} will be tried again by the runner that is going, or the next `run`",
        )
    others = [status.state for _, status in found if status.state not in (FAILED, STOPPED)]
    for state in dict.fromkeys(others):
        say(console, f"{count(others.count(state))} {state}: {_reason(state)}")
    return 0 if chosen else 1


def _reason(state: str) -> str:
    if state == DONE:
        return "nothing to try again"
    if state in LIVE:
        return "left alone; `cegppo stop` first to start afresh"
    return "not failed; the next `cegppo run` starts it"

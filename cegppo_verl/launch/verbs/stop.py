"""``cegppo stop``: ask for the end of cells, whoever runs them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cegppo_verl.launch.terminal_text import say
from cegppo_verl.launch.verbs import control
from cegppo_verl.launch.verbs.control import count
from cegppo_verl.launch.verbs.targets import Finder, Target
from cegppo_verl.records import marks
from cegppo_verl.records.status import DONE, LIVE, QUEUED, Status

PATIENCE_SECONDS = 300.0
POLL_SECONDS = 2.0


def run(
    words: Sequence[str],
    scale: str | None,
    seeds: Sequence[int] | None,
    results: Path,
    console: Console,
    *,
    arms: Sequence[str] | None = None,
    why: str | None = None,
    wait: bool = False,
) -> int:
    """Stop cells: running attempts end in order within a minute, and nobody starts them again before `retry`.

    Args:
        words: grid files, GRID#arm, ids, slugs or run directories.
        why: the reason, kept with the cell.
        wait: return when everything has ended; exit code 1 when that takes more than five minutes.

    Raises:
        UserError: a word names nothing, or a run directory cannot be written.
    """
    found = control.with_states(Finder(results, scale, seeds), words, arms)
    chosen = [(t, s) for t, s in found if s.state != DONE and marks.stop_request(t.run) is None]
    by = control.asker()
    for target, _ in chosen:
        control.write(target, lambda run=target.run: marks.request_stop(run, by, why))  # type: ignore[misc]
    _tell(found, chosen, console)
    return _await([t for t, _ in found], results, console) if wait else 0


def _tell(
    found: Sequence[tuple[Target, Status]], chosen: Sequence[tuple[Target, Status]], console: Console
) -> None:
    states = Counter(status.state for _, status in chosen)
    running, queued = sum(states[state] for state in LIVE), states[QUEUED]
    rest = len(chosen) - running - queued
    if running:
        say(console, f"{count(running)} running: ends in order within a minute; everything recorded is kept")
    if queued:
        say(
            console,
            f"{count(queued)} queued: the runner takes the job back; without one it ends as it begins",
        )
    if rest:
        say(console, f"{count(rest)} not running: nobody starts them")
    done = sum(status.state == DONE for _, status in found)
    if done:
        say(console, f"{count(done)} done: left alone")
    if len(found) > len(chosen) + done:
        say(console, f"{count(len(found) - len(chosen) - done)} marked before")
    if chosen:
        say(console, "`cegppo retry` takes this back")


def _await(targets: Sequence[Target], results: Path, console: Console) -> int:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        states = control.look(results, targets)
        busy = [t for t in targets if states[t.id].state in (*LIVE, QUEUED)]
        if not busy:
            say(console, "nothing runs any more")
            return 0
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    for target in busy:
        say(console, f"{target.slug}: {states[target.id].text()}")
    return 1

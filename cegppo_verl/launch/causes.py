"""Why an attempt ended: in words, and of which kind. The exit code is evidence, not proof."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cegppo_verl.errors import EXIT_USER_ERROR

TAIL_BYTES = 200_000


class Kind(StrEnum):
    """What sort of cause it is; it decides whether trying again can help."""

    MEMORY = "memory"
    NODE_LOST = "node lost"
    STALL = "stall"
    PREEMPTED = "preempted"  # the cluster took its place away: tried again, and not counted as a failure
    USER_ERROR = "user error"
    CODE_ERROR = "code error"
    UNKNOWN = "unknown"


RETRIED = (Kind.MEMORY, Kind.NODE_LOST, Kind.STALL, Kind.PREEMPTED)


@dataclass(frozen=True)
class Cause:
    """What went wrong.

    Attributes:
        text: one line for people.
        kind: decides whether it is tried again.
    """

    text: str
    kind: Kind

    @property
    def retry(self) -> bool:
        """Whether trying again without a change can help."""
        return self.kind in RETRIED


OUT_OF_TIME = Cause(
    "the scheduler's time limit (TIMEOUT) came before a new checkpoint; raise it, or save more often",
    Kind.USER_ERROR,  # trying again would do it all again
)

# First match wins, so the specific stands before the general.
_PATTERNS: tuple[tuple[str, str, Kind], ...] = (
    (
        r"is not registered inside Ray workers",
        "the policy loss is not registered inside Ray workers",
        Kind.USER_ERROR,
    ),
    (r"the verl plugin failed to load: (.*)", "the verl plugin failed to load: {0}", Kind.USER_ERROR),
    (r"No space left on device", "no space left on the disk or in /dev/shm", Kind.USER_ERROR),
    (
        r"Workers \(tasks / actors\) killed due to memory pressure",
        "out of memory (Ray's memory monitor)",
        Kind.MEMORY,
    ),
    (r"OutOfMemoryError|out of memory|MemoryError|Cannot allocate memory", "out of memory", Kind.MEMORY),
    (
        r"(Could not override '.*'|Key '.*' is not in struct)",
        "verl's configuration refuses an override: {0}",
        Kind.USER_ERROR,
    ),
    (r"Total available GPUs .* is less than total desired GPUs .*", "{all}", Kind.USER_ERROR),
    (
        r"The node .* has been marked dead|(?<!\()\braylet\b(?!\)).*died|lost .* node",
        "a Ray node died",
        Kind.NODE_LOST,
    ),
    (
        r"A worker died or was killed while executing a task.*Worker PID: (\d+)",
        "a Ray worker (process {0}) died or was killed",
        Kind.NODE_LOST,
    ),
)

# Errors of a lost process or connection. Any other exception comes again with the same code and data.
_PASSING = re.compile(
    r"Died|Dead|Crashed|Lost|Unavailable|RayActorError|Connection|BrokenPipe|Timeout|RpcError|DistNetwork"
)


_RAY_PREFIX = re.compile(r"^(\x1b\[\d+m)?\([^)]*\bpid=[^)]*\)(\x1b\[0m)? ")


def cause_of(log: Path, exit_code: int | None) -> Cause:
    """Read the end of ``log`` and name the cause.

    Args:
        exit_code: of the driver; negative for a signal; None if it was ended by the runner.
    """
    text = _tail(log)
    for pattern, words, kind in _PATTERNS:
        match = re.search(pattern, text)
        if match:
            return Cause(words.format(*match.groups(), all=match.group(0)), kind)
    if exit_code is not None and exit_code < 0:
        return Cause(f"the driver was killed by signal {-exit_code}", Kind.NODE_LOST)
    error = _last_error(text)
    if error:
        return Cause(error, _kind_of_error(error, exit_code))
    # Nothing said, not complete: a driver whose Ray was taken away leaves like this.
    kind = Kind.USER_ERROR if exit_code == EXIT_USER_ERROR else Kind.NODE_LOST
    return Cause(f"the driver exited with code {exit_code} before the run was complete", kind)


def _kind_of_error(error: str, exit_code: int | None) -> Kind:
    if exit_code == EXIT_USER_ERROR:  # what the user must mend is not mended by trying again
        return Kind.USER_ERROR
    return Kind.NODE_LOST if _PASSING.search(error) else Kind.CODE_ERROR


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _last_error(text: str) -> str | None:
    """The last line that looks like an exception, without Ray's prefix."""
    lines = [_RAY_PREFIX.sub("", line).strip() for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"^[\w.]*(Error|Exception|Exit)\b.*", line)]
    return errors[-1][:300] if errors else None

"""Why an attempt ended, in words, from its log. The exit code is evidence, not proof."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.errors import EXIT_USER_ERROR

TAIL_BYTES = 200_000


@dataclass(frozen=True)
class Cause:
    """What went wrong.

    Attributes:
        text: one line for people.
        retry: whether trying again without a change can help.
    """

    text: str
    retry: bool


# First match wins, so the specific stands before the general.
_PATTERNS: tuple[tuple[str, str, bool], ...] = (
    (r"is not registered inside Ray workers", "the policy loss is not registered inside Ray workers", False),
    (r"the verl plugin failed to load: (.*)", "the verl plugin failed to load: {0}", False),
    (r"No space left on device", "no space left on the disk or in /dev/shm", False),
    (
        r"Workers \(tasks / actors\) killed due to memory pressure",
        "out of memory (Ray's memory monitor)",
        True,
    ),
    (r"OutOfMemoryError|out of memory|MemoryError|Cannot allocate memory", "out of memory", True),
    (
        r"(Could not override '.*'|Key '.*' is not in struct)",
        "verl's configuration refuses an override: {0}",
        False,
    ),
    (r"Total available GPUs .* is less than total desired GPUs .*", "{all}", False),
    (r"The node .* has been marked dead|raylet.*died|lost .* node", "a Ray node died", True),
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
    for pattern, words, retry in _PATTERNS:
        match = re.search(pattern, text)
        if match:
            return Cause(words.format(*match.groups(), all=match.group(0)), retry)
    if exit_code is not None and exit_code < 0:
        return Cause(f"the driver was killed by signal {-exit_code}", True)
    may_pass = exit_code != EXIT_USER_ERROR  # what the user must mend is not mended by trying again
    error = _last_error(text)
    if error:
        return Cause(error, retry=may_pass and bool(_PASSING.search(error)))
    return Cause(f"the driver exited with code {exit_code} before the run was complete", retry=may_pass)


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

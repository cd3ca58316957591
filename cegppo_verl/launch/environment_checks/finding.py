"""What a check returns, and what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cegppo_verl.launch.locks import Stack

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One result.

    Attributes:
        level: ok, warn (a run may work) or fail (a run will not work, or its numbers cannot be trusted).
        name: what was looked at, two or three words.
        message: what was found, with numbers.
        fix: what to do, in the imperative; empty when ok.
    """

    level: Level
    name: str
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        if (self.level == "ok") == bool(self.fix):
            raise ValueError(f"{self.name}: a finding has a fix exactly when it is not ok")


@dataclass(frozen=True)
class Context:
    """What all checks share, read once.

    Attributes:
        installed: canonical name -> version of this environment's packages.
        stack: which stack is installed; None when there is neither torch nor vLLM.
        lock: the lock file to compare with; None when there is none.
        pins: canonical name -> version of that lock.
        folder: where runs will be written.
    """

    installed: Mapping[str, str]
    stack: Stack | None
    lock: Path | None
    pins: Mapping[str, str]
    folder: Path

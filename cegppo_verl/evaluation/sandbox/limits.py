"""What a candidate may use, and what is run."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one candidate may use; all numbers positive.

    ``wall_seconds`` counts from the moment the candidate gets its program, so a crowded machine's slow start
    is not held against it. ``cpu_seconds``: of the candidate's process, and as much for the tests.
    ``memory_bytes``: address space. ``output_bytes``: standard output and error together. ``file_bytes``:
    each file and all files together. ``threads``: of the candidate, itself included; counted by the kernel
    where it has a user of its own, otherwise bounded by memory. ``reply_bytes``: one returned value, encoded.

    Raises:
        ValueError: a number that is not positive.
    """

    wall_seconds: float = 20.0
    cpu_seconds: int = 8
    memory_bytes: int = 512 << 20
    output_bytes: int = 64 << 10
    file_bytes: int = 16 << 20
    threads: int = 16
    open_files: int = 64
    reply_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be positive, not {getattr(self, field.name)}")


@dataclass(frozen=True, slots=True)
class Program:
    """One candidate and its tests, as in HumanEval.

    ``code``: the candidate's complete program. ``entry_point``: the function in it that is tested.
    ``tests``: defines ``check(candidate)``, or is itself a row of asserts on the function's name.
    ``prelude``: trusted code that the tests may use (HumanEval's prompt, whose helpers some tests call).
    """

    code: str
    entry_point: str
    tests: str
    prelude: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a candidate.

    ``outcome``: "correct", "wrong" or "grader_error". ``cause``: "" when correct; of a wrong one "assertion",
    "exception NAME", "timeout", "memory", "output limit", "file limit", "forbidden call", "not plain data",
    "killed" or "ended early"; of a grader's error what failed. ``detail``: one line more, for a person; what
    the candidate said about itself stands in it, so it is evidence of nothing. ``layers``: the layers of the
    sandbox that were active.
    """

    outcome: str
    cause: str
    detail: str
    layers: tuple[str, ...]

    @property
    def correct(self) -> bool:
        """Whether every test passed."""
        return self.outcome == "correct"

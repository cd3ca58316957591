"""The judge: runs the tests in its own process and calls the candidate in another one for every value."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from cegppo_verl.evaluation.sandbox import kernel, namespaces, privileges
from cegppo_verl.evaluation.sandbox.child import Candidate, EndedError, Place, RefusedError
from cegppo_verl.evaluation.sandbox.limits import Limits, Program

PDEATH_SIGKILL = 9


@dataclass(frozen=True)
class Job:
    """One run: what, within which limits, in which empty folder, and the evaluator's random number."""

    program: Program
    limits: Limits
    folder: str
    nonce: str
    accept_missing: bool

    @classmethod
    def read(cls, line: bytes) -> Job:
        """From the evaluator's JSON line."""
        raw = json.loads(line)
        program, limits = Program(**raw.pop("program")), Limits(**raw.pop("limits"))
        return cls(program=program, limits=limits, **raw)

    def line(self) -> bytes:
        """The JSON line that :meth:`read` reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


Verdict = tuple[str, str, str]


def _wrong(error: BaseException, candidate: Candidate) -> Verdict:
    """The verdict on what a test let through."""
    text = str(error)[:200]
    if candidate.ended:
        return "wrong", candidate.ended.cause, candidate.ended.detail
    if error is candidate.raised:
        name = error.__notes__[0]
        return "wrong", _of_exception(name), text
    if not candidate.calls:
        return "grader_error", f"the tests failed before any call: {type(error).__name__}", text
    if isinstance(error, AssertionError):
        return "wrong", "assertion", text
    return "wrong", _of_exception(type(error).__name__), f"in the tests: {text}"


def _of_exception(name: str) -> str:
    known = {"MemoryError": "memory", "PermissionError": "forbidden call"}
    return known.get(name, f"exception {name}")


def _names(program: Program, candidate: Candidate) -> dict[str, Any]:
    """The namespace of the tests: the prelude's names, and the candidate under its own."""
    names: dict[str, Any] = {"__name__": "tests"}
    with contextlib.suppress(Exception):  # a prompt that is no whole program has no helpers to offer
        exec(program.prelude, names)
    names[program.entry_point] = candidate
    return names


def _test(program: Program, candidate: Candidate) -> Verdict:
    """Load the candidate, run the tests."""
    try:
        tests = compile(program.tests, "tests.py", "exec")
    except (SyntaxError, ValueError) as error:
        return "grader_error", "the tests are no program", str(error)[:200]
    try:
        candidate.load(program.code, program.entry_point)
        names = _names(program, candidate)
        exec(tests, names)
        if callable(names.get("check")):
            names["check"](candidate)
    except (Exception, EndedError) as error:
        loaded = candidate.calls or error is candidate.raised or candidate.ended
        return (
            _wrong(error, candidate)
            if loaded
            else ("grader_error", "the tests failed before any call", str(error)[:200])
        )
    if candidate.ended:
        return "wrong", candidate.ended.cause, candidate.ended.detail
    return ("correct", "", "") if candidate.calls else ("grader_error", "the tests never call it", "")


def _say(verdict: int, **message: Any) -> None:
    os.write(verdict, json.dumps(message).encode() + b"\n")


def _enter(job: Job, user: int, active: list[str], failed: dict[str, str]) -> Place:
    """The judge's own surroundings, which the candidate inherits, and who the candidate will be."""
    folder = job.folder
    try:
        namespaces.own_root(folder, user, job.limits.file_bytes)
    except OSError as error:
        failed["own root"] = str(error)
    else:
        active.append("own root")
        folder = namespaces.PLACE
    why = privileges.hindrance(user, folder)
    if why:
        failed["own user"] = why
        user = user if user == privileges.NOBODY and _owns(folder, user) else os.getuid()
    else:
        active.append("own user")
    return Place(folder, user, active, failed)


def _owns(folder: str, user: int) -> bool:
    return os.stat(folder).st_uid == user


def serve(
    job: Job, users: tuple[int, int], active: list[str], failed: dict[str, str], verdict: int, output: int
) -> NoReturn:
    """Run one job and end; called in a process forked for it.

    Args:
        job: what to run.
        users: ids for the candidate and for this process.
        active: layers that are active already; ``failed``: why others are not.
        verdict: descriptor for two JSON lines: the layers, then the verdict.
        output: descriptor for the candidate's output.
    """
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, PDEATH_SIGKILL)
        place = _enter(job, users[0], active, failed)
        candidate = Candidate(place, job.limits, output)
        os.close(output)
        _lower(users[1] if "own user" in active else os.getuid(), job.limits)
        _say(verdict, layers=candidate.prepare(job.accept_missing))
        outcome, cause, detail = _test(job.program, candidate)
    except RefusedError as error:
        outcome, cause, detail = "grader_error", "refused", str(error)
    except BaseException as error:
        outcome, cause, detail = "grader_error", "the judge failed", f"{type(error).__name__}: {error}"[:300]
    _say(verdict, nonce=job.nonce, outcome=outcome, cause=cause, detail=detail)
    os._exit(0)


def _lower(user: int, limits: Limits) -> None:
    """The tests are the benchmark's: no privileges for them either, and no way for others to look inside."""
    privileges.become(user)
    privileges.drop_capabilities()
    kernel.prctl(kernel.PR_SET_PDEATHSIG, PDEATH_SIGKILL)
    privileges.limit(limits, processes=None, files=0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)

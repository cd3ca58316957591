"""Is a response right? One path for toy tasks and real mathematics.

1. Extract the answer (``evaluation.extract``); none: ``no_answer``.
2. Plain decimal integers on both sides: integer equality decides, without sympy, in microseconds.
3. The very text of an accepted answer is right.
4. All else goes to math-verify in a separate process with a time limit.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import threading
from dataclasses import dataclass
from functools import cache, lru_cache

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.extract import canonical_integer, clean, extract_answer
from cegppo_verl.evaluation.pool import Pool

VERSION = 1  # raise it when the same response could get another verdict
OUTCOMES = ("correct", "wrong", "no_answer", "timeout", "grader_error")
SECONDS = 5.0  # of one core, per item; math-verify's own default, which counts on the clock
MAX_TRUTH = 10_000  # characters
REMEMBERED = 16_384  # verdicts: the samples of one prompt often end in the same answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one response.

    ``outcome``: one of OUTCOMES. "wrong" means read and found different; "timeout" and "grader_error" (no
    truth can be read, or the grader failed) say nothing about the response and are counted apart.
    ``extracted``: the answer found in it, "" when there is none.
    """

    outcome: str
    correct: bool
    extracted: str


@dataclass(frozen=True, slots=True)
class Truth:
    """Accepted answers: integers in canonical form, and all others as text."""

    integers: frozenset[str]
    texts: tuple[str, ...]


@lru_cache(maxsize=65_536)
def read_truth(text: str) -> Truth:
    """Accepted answers from a single one, or from a JSON list of strings."""
    answers = [clean(answer) for answer in _accepted(text)]
    numbers = [canonical_integer(answer) for answer in answers]
    texts = tuple(
        answer for answer, number in zip(answers, numbers, strict=True) if answer and number is None
    )
    return Truth(frozenset(number for number in numbers if number is not None), texts)


def _accepted(text: str) -> list[str]:
    # "[1, 2]" is an interval, '["1", "2"]' a list of accepted answers: only strings make a list.
    if text.lstrip().startswith("["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return [text]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return [text]


@cache
def grader_id() -> str:
    """Version of math-verify and of this path, e.g. "math-verify-0.9.0+1".

    Raises:
        UserError: math-verify is not installed.
    """
    try:
        return f"math-verify-{importlib.metadata.version('math-verify')}+{VERSION}"
    except importlib.metadata.PackageNotFoundError:
        hint = "install the cpu or the gpu lock file"
        raise UserError("grading needs the package math-verify", hint=hint) from None


class Grader:
    """Grades responses; holds the processes that run math-verify. Any number of threads may share one.

    Args:
        workers: the most processes; started only when an item needs one.
        seconds: time limit per item, counted on its core; four times as much on the clock.
    """

    def __init__(self, workers: int = 2, seconds: float = SECONDS) -> None:
        self._pool = Pool(workers, seconds)
        self._seen: dict[tuple[str, str], str] = {}

    def grade(self, response: str, truth: str, extract: str = "boxed") -> Verdict:
        """The verdict on one response.

        Args:
            response: all the text that the model wrote.
            truth: one answer, or a JSON list of strings of which any is right.
            extract: how the answer is found: boxed, number or whole.

        Raises:
            KeyError: unknown ``extract``.
        """
        answer = extract_answer(response, extract)
        if answer is None:
            return Verdict("no_answer", False, "")
        outcome = self._compare(answer, truth)
        return Verdict(outcome, outcome == "correct", answer)

    def _compare(self, answer: str, text: str) -> str:
        if len(text) > MAX_TRUTH:
            return "grader_error"
        truth = read_truth(text)
        if not truth.integers and not truth.texts:
            return "grader_error"
        number = canonical_integer(answer)
        if number in truth.integers or answer in truth.texts:
            return "correct"
        if number is not None and not truth.texts:
            return "wrong"
        return self._seen.get((answer, text)) or self._ask(answer, text, truth)

    def _ask(self, answer: str, text: str, truth: Truth) -> str:
        outcome = self._pool.ask({"answer": answer, "truths": [*sorted(truth.integers), *truth.texts]})
        if outcome == "late":  # a busy machine's fault as likely as the item's
            return "timeout"
        if outcome != "grader_error":
            self._remember((answer, text), outcome)
        return outcome

    def _remember(self, item: tuple[str, str], outcome: str) -> None:
        """Keep a verdict that would be the same again; the oldest makes room."""
        self._seen[item] = outcome
        if len(self._seen) > REMEMBERED:
            with contextlib.suppress(KeyError, RuntimeError):  # another thread made room
                self._seen.pop(next(iter(self._seen)))

    def close(self) -> None:
        """End the processes; the grader can be used again."""
        self._pool.close()


_default: tuple[int, Grader] | None = None
_default_lock = threading.Lock()


def default_grader() -> Grader:
    """The grader shared by this process (a forked child makes its own)."""
    global _default
    if _default is None or _default[0] != os.getpid():
        with _default_lock:
            if _default is None or _default[0] != os.getpid():
                _default = (os.getpid(), Grader())
    return _default[1]


def grade(response: str, truth: str, extract: str = "boxed") -> Verdict:
    """:meth:`Grader.grade` with the process's own grader."""
    return default_grader().grade(response, truth, extract)

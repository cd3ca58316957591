"""Task "code-toy": tiny Python functions to write, with hidden tests, generated from a seed.

Each problem has a reference solution; the tests are its values on some inputs, so it passes them. Train and
validation never share a problem (kind and parameters).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.toy.rows import Row, generator, half_of, user, verl_row

VERSION = 1
QUESTION = "Complete this Python function. Answer with the code of the whole function in one block.\n\n"
MOST = {"train": 800, "validation": 50}  # below what exists, so that drawing always ends


@dataclass(frozen=True)
class Problem:
    """A function to write: its head with docstring, a solution's last lines, and inputs to test it on."""

    key: str
    head: str
    text: str
    body: str
    inputs: tuple[Any, ...]

    @property
    def entry_point(self) -> str:
        """The name of the function."""
        return self.head.split("(")[0].removeprefix("def ")

    @property
    def prompt(self) -> str:
        """The program's beginning, as HumanEval has it."""
        return f'{self.head}\n    """{self.text}"""\n'

    @property
    def solution(self) -> str:
        """The reference solution, a whole program."""
        lines = "".join(f"    {line}\n" for line in self.body.split("\n"))
        return self.prompt + lines

    @property
    def tests(self) -> str:
        """HumanEval's ``check``: the reference's value for every input."""
        names: dict[str, Any] = {}
        exec(self.solution, names)
        pairs = [(value, names[self.entry_point](value)) for value in self.inputs]
        lines = [f"    assert candidate({value!r}) == {expected!r}\n" for value, expected in pairs]
        return "def check(candidate):\n" + "".join(lines)

    @property
    def truth(self) -> str:
        """The row's ground truth, as ``evaluation.code`` reads it."""
        return json.dumps({"prompt": self.prompt, "entry_point": self.entry_point, "tests": self.tests})

    @property
    def question(self) -> str:
        """What the model reads."""
        return f"{QUESTION}```python\n{self.prompt}```"


def _term(rng: random.Random) -> Problem:
    a, m, b = rng.randint(1, 9), rng.randint(2, 5), rng.randint(0, 9)
    text = f"Return the n-th term (from n = 0) of the sequence that begins with {a}; "
    text += f"each next term is {m} times the one before plus {b}."
    body = f"value = {a}\nfor _ in range(n):\n    value = {m} * value + {b}\nreturn value"
    return Problem(f"term {a} {m} {b}", "def nth_term(n):", text, body, (0, 1, 2, 5, 9))


def _count(rng: random.Random) -> Problem:
    a, b = rng.sample(range(2, 16), 2)
    text = f"Return how many whole numbers from 1 to n are multiples of {a} but not of {b}."
    body = f"return sum(1 for i in range(1, n + 1) if i % {a} == 0 and i % {b} != 0)"
    return Problem(f"count {a} {b}", "def count_multiples(n):", text, body, (0, 1, 10, 24, 100))


def _rotate(rng: random.Random) -> Problem:
    k, side = rng.randint(1, 19), rng.choice(("left", "right"))
    text = f"Return the text rotated by {k} places to the {side}; an empty text stays empty."
    sign = "" if side == "left" else "-"
    body = f"if not text:\n    return text\nk = {sign}{k} % len(text)\nreturn text[k:] + text[:k]"
    return Problem(f"rotate {k} {side}", "def rotate(text):", text, body, ("", "a", "abc", "abcdefghij"))


def _select(rng: random.Random) -> Problem:
    t, k = rng.randint(-5, 20), rng.randint(2, 12)
    text = f"Return the list of the numbers greater than {t}, each times {k}, in their order."
    body = f"return [{k} * x for x in numbers if x > {t}]"
    inputs: tuple[Any, ...] = ([], [t], [t + 1, t - 1, t + 5], [9, -4, 0, 12, 3])
    return Problem(f"select {t} {k}", "def select(numbers):", text, body, inputs)


def _digits(rng: random.Random) -> Problem:
    base, power = rng.randint(2, 16), rng.randint(1, 3)
    text = f"Return the sum of the digits of n >= 0 written in base {base}, each digit to the power {power}."
    body = f"total = 0\nwhile n:\n    total += (n % {base}) ** {power}\n    n //= {base}\nreturn total"
    return Problem(f"digits {base} {power}", "def digit_sum(n):", text, body, (0, 1, 7, 100, 4095))


def _repeat(rng: random.Random) -> Problem:
    step, times = rng.randint(2, 5), rng.randint(2, 6)
    text = f"Return the text with every {step}th character (the {step}th, the {2 * step}th, …) "
    text += f"written {times} times in a row."
    body = f'return "".join(c * ({times} if i % {step} == 0 else 1) for i, c in enumerate(text, 1))'
    return Problem(f"repeat {step} {times}", "def repeat(text):", text, body, ("", "ab", "abcdefghijkl"))


KINDS: tuple[Callable[[random.Random], Problem], ...] = (_term, _count, _rotate, _select, _digits, _repeat)


def _stream(half: str, seed: int) -> Iterator[Problem]:
    rng = generator("code-toy", VERSION, half, seed)
    while True:
        problem = rng.choice(KINDS)(rng)
        if half_of(f"code-toy {problem.key}") == half:
            yield problem


def problems(half: str, n: int, seed: int) -> list[Problem]:
    """``n`` different problems of one half ("train" or "validation").

    Raises:
        UserError: ``n`` is not between 1 and the most this generator offers for this half.
    """
    if not 1 <= n <= MOST[half]:
        message = f"task 'code-toy' offers up to {MOST[half]} different {half} problems, {n} asked for"
        raise UserError(message, hint=f"ask for 1 to {MOST[half]}")
    found: dict[str, Problem] = {}
    for problem in _stream(half, seed):
        found.setdefault(problem.key, problem)
        if len(found) == n:
            break
    return list(found.values())


def rows(half: str, name: str, n: int, seed: int) -> list[Row]:
    """``n`` verl rows; ``name`` is the task ("code-toy") or the benchmark ("code-toy-val")."""
    return [
        verl_row(name, i, user(problem.question), problem.truth, ability="code", extract="code")
        for i, problem in enumerate(problems(half, n, seed))
    ]

"""Task "words": short arithmetic word problems with integer answers, generated from a seed.

Small operands and one or two operations: a 135M model is right now and then, so RL has a signal. The answer
is the last number of a response. Train and validation never share the numbers of a problem (kind and
operands), whatever the names.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cegppo_verl.errors import UserError
from cegppo_verl.toy.rows import Message, Row, generator, half_of, verl_row

VERSION = 2
NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Finn", "Grace", "Hugo", "Iris", "Jack", "Kate", "Leo")
THINGS = ("apples", "books", "coins", "pens", "stones", "cards", "eggs", "shells", "stamps", "balls")
# Two solved examples as turns of a chat: the model then answers with a short calculation and stops. With
# SmolLM2-135M at T=1 and 32 new tokens, 7 of 48 answers were right, 25 tokens long on average; asked without
# such turns, in five wordings, 1 to 3 of 48, 31 tokens long: most were cut off.
EXAMPLES = (
    ("Tom has 3 cups. Tom buys 4 more cups. How many cups does Tom have now?", "3 + 4 = 7"),
    ("Mia has 9 hats. Mia gives away 4 hats. How many hats does Mia have left?", "9 - 4 = 5"),
)
INSTRUCTION = "You answer with one calculation."


@dataclass(frozen=True)
class Problem:
    """A question with its integer answer; ``key`` names the kind and the operands."""

    key: str
    question: str
    answer: int

    @property
    def messages(self) -> list[Message]:
        """The chat: instruction, solved examples, question."""
        turns = [("system", INSTRUCTION)]
        for question, answer in EXAMPLES:
            turns += [("user", question), ("assistant", answer)]
        return [{"role": role, "content": text} for role, text in [*turns, ("user", self.question)]]


def _buy(rng: random.Random, who: str, what: str) -> Problem:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    text = f"{who} has {a} {what}. {who} buys {b} more {what}. How many {what} does {who} have now?"
    return Problem(f"buy {a} {b}", text, a + b)


def _give(rng: random.Random, who: str, what: str) -> Problem:
    a = rng.randint(4, 12)
    b = rng.randint(2, a - 1)
    text = f"{who} has {a} {what}. {who} gives away {b} {what}. How many {what} does {who} have left?"
    return Problem(f"give {a} {b}", text, a - b)


def _boxes(rng: random.Random, who: str, what: str) -> Problem:
    a, b = rng.randint(2, 6), rng.randint(2, 6)
    text = f"{who} has {a} boxes with {b} {what} in each box. How many {what} does {who} have in total?"
    return Problem(f"boxes {a} {b}", text, a * b)


def _find_and_lose(rng: random.Random, who: str, what: str) -> Problem:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    c = rng.randint(1, a + b - 1)
    text = f"{who} has {a} {what}, finds {b} more and then loses {c}. How many {what} does {who} have now?"
    return Problem(f"find-lose {a} {b} {c}", text, a + b - c)


KINDS: tuple[Callable[[random.Random, str, str], Problem], ...] = (_buy, _give, _boxes, _find_and_lose)


def _stream(half: str, seed: int) -> Iterator[Problem]:
    rng = generator("words", VERSION, half, seed)
    while True:
        problem = rng.choice(KINDS)(rng, rng.choice(NAMES), rng.choice(THINGS))
        if half_of(f"words {problem.key}") == half:
            yield problem


MOST = {"train": 20_000, "validation": 2_000}  # well below what exists, so that drawing always ends


def problems(half: str, n: int, seed: int) -> list[Problem]:
    """``n`` problems with different texts of one half ("train" or "validation").

    Raises:
        UserError: ``n`` is not between 1 and the most this generator offers for this half.
    """
    if not 1 <= n <= MOST[half]:
        raise UserError(
            f"task 'words' offers up to {MOST[half]} different {half} problems, {n} asked for",
            hint=f"ask for 1 to {MOST[half]}",
        )
    found: dict[str, Problem] = {}
    for problem in _stream(half, seed):
        found.setdefault(problem.question, problem)
        if len(found) == n:
            break
    return list(found.values())


def rows(half: str, name: str, n: int, seed: int) -> list[Row]:
    """``n`` verl rows; ``name`` is the task ("words") or the benchmark ("words-val")."""
    return [
        verl_row(name, i, problem.messages, str(problem.answer), ability="math", extract="number")
        for i, problem in enumerate(problems(half, n, seed))
    ]

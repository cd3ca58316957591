"""Task "pick": six distinct digits, answer with any three of them in strictly increasing order.

``409527>`` style prompts with the digits 1 to 9 only, so an answer is an integer without leading zeros
and integer grading cannot be gamed. Twenty answers are right for each prompt: entropy and accuracy are
not tied to each other one to one, which is what makes the task useful for entropy studies.
"""

from __future__ import annotations

import itertools
import json
from functools import cache

from cegppo_verl.errors import UserError
from cegppo_verl.toy.rows import Row, generator, half_of, user, verl_row

DIGITS = "123456789"
PROMPT_DIGITS = 6
ANSWER_DIGITS = 3
PROMPT_END = ">"
VERSION = 1


@cache
def all_prompts(half: str) -> tuple[str, ...]:
    """Every prompt of "train" (about 56,700) or "validation" (about 3,780); together 60,480, none shared."""
    texts = ("".join(digits) + PROMPT_END for digits in itertools.permutations(DIGITS, PROMPT_DIGITS))
    return tuple(text for text in texts if half_of(f"pick {text}") == half)


def prompts(half: str, n: int, seed: int) -> list[str]:
    """``n`` different prompts of one half, in the order that ``seed`` draws them.

    Raises:
        UserError: ``n`` is not between 1 and the number of prompts in this half.
    """
    pool = all_prompts(half)
    if not 1 <= n <= len(pool):
        raise UserError(
            f"task 'pick' has {len(pool)} different {half} prompts, {n} asked for",
            hint=f"ask for 1 to {len(pool)}",
        )
    return generator("pick", VERSION, half, seed).sample(pool, n)


def right_answers(prompt: str) -> list[str]:
    """The 20 right answers of a prompt, as strings of three digits, in increasing order."""
    digits = sorted(prompt.removesuffix(PROMPT_END))
    return ["".join(answer) for answer in itertools.combinations(digits, ANSWER_DIGITS)]


def rows(half: str, name: str, n: int, seed: int) -> list[Row]:
    """``n`` verl rows; ``name`` is the task ("pick") or the benchmark ("pick-val")."""
    return [
        verl_row(name, i, user(text), json.dumps(right_answers(text)), ability="toy", extract="whole")
        for i, text in enumerate(prompts(half, n, seed))
    ]

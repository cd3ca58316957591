"""Task "instruct-toy": short texts under one to three verifiable constraints, generated from a seed.

Each problem comes with an example that follows all of its constraints, so every problem can be solved. Train
and validation never share a problem (topic and constraints).
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
MOST = {"train": 5_000, "validation": 300}  # below what exists, so that drawing always ends
TOPICS = ("a river", "winter", "bread", "the moon", "an old clock", "a garden", "rain", "a train journey")
KEYWORDS = ("quiet", "silver", "morning", "bridge", "yellow", "window", "stone", "paper")
FORBIDDEN = ("very", "good", "nice", "beautiful", "always", "never")
ENDINGS = ("The end.", "That is all.", "Thank you.")


@dataclass(frozen=True)
class Rule:
    """One constraint: its row, its sentence in the prompt."""

    row: dict[str, Any]
    sentence: str


@dataclass(frozen=True)
class Problem:
    """A topic, its constraints, and an example that follows them."""

    topic: str
    rules: tuple[Rule, ...]
    example: str

    @property
    def key(self) -> str:
        """Topic and constraints."""
        return f"{self.topic} {json.dumps([rule.row for rule in self.rules], sort_keys=True)}"

    @property
    def question(self) -> str:
        """What the model reads."""
        return " ".join([f"Write a short text about {self.topic}.", *(rule.sentence for rule in self.rules)])

    @property
    def truth(self) -> str:
        """The row's ground truth."""
        return json.dumps({"constraints": [rule.row for rule in self.rules], "scoring": "strict"})


Shape = tuple[Rule, Callable[[list[str]], str], int]  # the rule, how sentences are joined, how many


def _shape(rng: random.Random) -> Shape:
    n = rng.randint(2, 5)
    row = {"number": n}
    return rng.choice(
        (
            (Rule({"name": "bullet_count", **row}, f"Use exactly {n} bullet points."), _bullets, n),
            (Rule({"name": "paragraph_count", **row}, f"Write exactly {n} paragraphs."), "\n\n".join, n),
            (
                Rule({"name": "sentence_count", "least": n, "most": n}, f"Write exactly {n} sentences."),
                " ".join,
                n,
            ),
        )
    )


def _bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _words(rng: random.Random) -> tuple[Rule, str]:
    """A rule on words, and the word that the example must hold ("" for none)."""
    word, other = rng.choice(KEYWORDS), rng.choice(FORBIDDEN)
    low = rng.choice((10, 15, 20))
    return rng.choice(
        (
            (Rule({"name": "keywords", "words": [word]}, f'Use the word "{word}".'), word),
            (Rule({"name": "forbidden_words", "words": [other]}, f'Do not use the word "{other}".'), ""),
            (Rule({"name": "no_commas"}, "Do not use any commas."), ""),
            (Rule({"name": "word_count", "least": low, "most": 120}, f"Use {low} to 120 words."), ""),
        )
    )


def _style(rng: random.Random, is_bullets: bool) -> tuple[Rule, Callable[[str], str]]:
    ending = rng.choice(ENDINGS)
    choices: list[tuple[Rule, Callable[[str], str]]] = [
        (Rule({"name": "lower_case"}, "Write in small letters only."), str.lower),
        (Rule({"name": "upper_case"}, "Write in capital letters only."), str.upper),
    ]
    if not is_bullets:
        finish = Rule({"name": "ends_with", "phrase": ending}, f'End with the exact words "{ending}"')
        choices.append((Rule({"name": "quoted"}, "Put it all in double quotation marks."), '"{}"'.format))
        choices.append((finish, lambda text: f"{text[: -len(_LAST)]}{ending}"))
    return rng.choice(choices)


_LAST = "It stays with me for a long time."


def _example(join: Callable[[list[str]], str], n: int, topic: str, word: str) -> str:
    extra = f" near a {word} thing" if word else ""
    middle = [f"I think of {topic} and of what it brings to us all here in these long days{extra}."] * (n - 1)
    return join([*middle, _LAST])


def _problem(rng: random.Random) -> Problem:
    topic, (shape, join, n) = rng.choice(TOPICS), _shape(rng)
    words, word = _words(rng)
    style, apply = _style(rng, join is _bullets)
    parts = rng.choice(((shape,), (shape, words), (shape, words, style)))
    text = _example(join, n, topic, word if words in parts else "")
    return Problem(topic, parts, apply(text) if style in parts else text)


def _stream(half: str, seed: int) -> Iterator[Problem]:
    rng = generator("instruct-toy", VERSION, half, seed)
    while True:
        problem = _problem(rng)
        if half_of(f"instruct-toy {problem.key}") == half:
            yield problem


def problems(half: str, n: int, seed: int) -> list[Problem]:
    """``n`` different problems of one half ("train" or "validation").

    Raises:
        UserError: ``n`` is not between 1 and the most this generator offers for this half.
    """
    if not 1 <= n <= MOST[half]:
        message = f"task 'instruct-toy' offers up to {MOST[half]} different {half} problems, {n} asked for"
        raise UserError(message, hint=f"ask for 1 to {MOST[half]}")
    found: dict[str, Problem] = {}
    for problem in _stream(half, seed):
        found.setdefault(problem.key, problem)
        if len(found) == n:
            break
    return list(found.values())


def rows(half: str, name: str, n: int, seed: int) -> list[Row]:
    """``n`` verl rows; ``name`` is the task ("instruct-toy") or the benchmark ("instruct-toy-val")."""
    return [
        verl_row(name, i, user(p.question), p.truth, ability="instructions", extract="instructions")
        for i, p in enumerate(problems(half, n, seed))
    ]

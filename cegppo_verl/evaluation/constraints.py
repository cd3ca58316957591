"""Verifiable constraints on a response, after IFEval (Zhou et al. 2023, arXiv 2311.07911) and IFBench.

Each constraint is one function of the response and its parameters, decided by counting, never by a model. A
prompt is followed when all its constraints are. Strict looks at the response itself. Loose, as IFEval
defines it, takes a constraint as followed if one of eight forms of the response follows it: without its first
line, its last line or both (introductions and farewells), each with and without its asterisks (emphasis).

Every check takes time linear in the response: a model that repeats itself may write 100,000 dots in a row,
and with a pattern that tried again from each of them 20,000 took 11 s, growing with their square.

Words are runs of letters, digits, apostrophes and hyphens in any script; sentences end in . ! ? … or their
full-width forms; paragraphs are parted by empty lines; bullets are lines that begin with "-", "*" or "•".
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cegppo_verl.errors import UserError, did_you_mean

VERSION = 1  # raise it when the same response could get another verdict
MOST_CHARACTERS = 400_000  # a longer response follows nothing

_WORD = re.compile(r"\w+(?:['’\-]\w+)*")
# A stop inside a run of stops begins no match: what it could reach, the first stop of the run reaches, too.
_SENTENCE_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]+[\"'”’)\]]*(?=\s|$|[^\x00-\x7f])")
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+\S", re.MULTILINE)
_FENCE = re.compile(r"```(?:json)?(\s*+)", re.IGNORECASE)
_TITLE = re.compile(r"<<([^<>\n]+)>>")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _occurrences(text: str, phrase: str) -> int:
    """How often the words of ``phrase`` follow one another in the text, case aside."""
    wanted, words = _words(phrase), _words(text)
    return sum(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


def word_count(text: str, least: int, most: int) -> bool:
    """From ``least`` to ``most`` words."""
    return least <= len(_words(text)) <= most


def sentence_count(text: str, least: int, most: int) -> bool:
    """From ``least`` to ``most`` sentences; a last one without its stop counts."""
    parts = [part for part in _SENTENCE_END.split(text) if _WORD.search(part)]
    return least <= len(parts) <= most


def paragraph_count(text: str, number: int) -> bool:
    """Exactly ``number`` paragraphs."""
    return sum(bool(part.strip()) for part in re.split(r"\n[ \t]*\n", text)) == number


def bullet_count(text: str, number: int) -> bool:
    """Exactly ``number`` bullet points."""
    return len(_BULLET.findall(text)) == number


def keywords(text: str, words: list[str]) -> bool:
    """Every one of ``words`` (or phrases) occurs."""
    return all(_occurrences(text, word) for word in words)


def keyword_frequency(text: str, word: str, least: int, most: int) -> bool:
    """``word`` occurs from ``least`` to ``most`` times."""
    return least <= _occurrences(text, word) <= most


def forbidden_words(text: str, words: list[str]) -> bool:
    """None of ``words`` (or phrases) occurs."""
    return not any(_occurrences(text, word) for word in words)


def letter_frequency(text: str, letter: str, least: int, most: int) -> bool:
    """``letter`` occurs from ``least`` to ``most`` times, case aside."""
    return least <= text.casefold().count(letter.casefold()) <= most


def starts_with(text: str, phrase: str) -> bool:
    """The response begins with ``phrase``, to the letter."""
    return text.strip().startswith(phrase)


def ends_with(text: str, phrase: str) -> bool:
    """The response ends with ``phrase``, to the letter; nothing follows."""
    return text.strip().endswith(phrase)


def json_format(text: str) -> bool:
    """The whole response is one JSON value, in a fenced block or bare."""
    try:
        fenced = _fenced(text.strip())
        json.loads(text if fenced is None else fenced)
    except (ValueError, RecursionError):
        return False
    return True


def _fenced(text: str) -> str | None:
    """What stands in a fenced block, from its first line that is not blank; None: the text is none."""
    fence = _FENCE.match(text)
    if fence is None or "\n" not in fence[1] or not text.endswith("\n```"):
        return None
    return text[fence.start(1) + fence[1].rindex("\n") + 1 : -len("\n```")]


def lower_case(text: str) -> bool:
    """Letters, and none of them a capital."""
    return text.islower()


def upper_case(text: str) -> bool:
    """Letters, and all of them capitals."""
    return text.isupper()


def no_commas(text: str) -> bool:
    """No comma, of any script."""
    return not set(text) & set(",，、،")


def quoted(text: str) -> bool:
    """The whole response stands between double quotation marks."""
    text = text.strip()
    return len(text) > 1 and (text[0], text[-1]) in (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"))


def title(text: str) -> bool:
    """A title in double angle brackets, <<like this>>."""
    return any(found.strip() for found in _TITLE.findall(text))


def placeholders(text: str, least: int) -> bool:
    """At least ``least`` placeholders in square brackets, [address]."""
    return len(re.findall(r"\[[^\[\]\n]+\]", text)) >= least


def postscript(text: str, marker: str) -> bool:
    """A line that begins with ``marker`` (P.S.) and goes on."""
    lines = (line.strip() for line in text.splitlines())
    return any(line.startswith(marker) and _WORD.search(line[len(marker) :]) for line in lines)


_ALL: tuple[Callable[..., bool], ...] = (
    *(word_count, sentence_count, paragraph_count, bullet_count, keywords, keyword_frequency),
    *(forbidden_words, letter_frequency, starts_with, ends_with, json_format, lower_case, upper_case),
    *(no_commas, quoted, title, placeholders, postscript),
)
REGISTRY: dict[str, Callable[..., bool]] = {check.__name__: check for check in _ALL}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0, "a whole number from 0"),
    "str": (_is_text, "a text that is not empty"),
    "list[str]": (lambda v: isinstance(v, list) and bool(v) and all(map(_is_text, v)), "a list of texts"),
}


@dataclass(frozen=True)
class Constraint:
    """A constraint of :data:`REGISTRY` with its parameters.

    Raises:
        UserError: no such constraint, an unknown or missing parameter, or one of the wrong kind.
    """

    name: str
    parameters: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.name not in REGISTRY:
            raise UserError(f"unknown constraint '{self.name}'", hint=did_you_mean(self.name, REGISTRY))
        wanted = list(inspect.signature(REGISTRY[self.name]).parameters.values())[1:]
        names = [parameter.name for parameter in wanted]
        for name in self.parameters:
            if name not in names:
                message = f"constraint '{self.name}' has no parameter '{name}'"
                raise UserError(message, hint=did_you_mean(name, names) if names else "leave it out")
        for parameter in wanted:
            self._check(parameter.name, str(parameter.annotation))
        self._check_range()

    def _check(self, name: str, kind: str) -> None:
        is_valid, words = _TYPES[kind]
        if name not in self.parameters or not is_valid(self.parameters[name]):
            value = repr(self.parameters.get(name, "nothing"))
            message = f"constraint '{self.name}': {name} must be {words}, not {value}"
            raise UserError(message, key=name, hint="correct the benchmark's row")

    def _check_range(self) -> None:
        low, high = self.parameters.get("least", 0), self.parameters.get("most")
        if high is not None and low > high:
            message = f"constraint '{self.name}': least ({low}) is more than most ({high})"
            raise UserError(message, key="least", hint="exchange the two")

    def holds(self, response: str, *, loose: bool = False) -> bool:
        """Whether a response follows it; an empty response follows nothing."""
        check = REGISTRY[self.name]
        forms = loose_forms(response) if loose else [response]
        return any(form.strip() and check(form, **self.parameters) for form in forms)


def loose_forms(response: str) -> list[str]:
    """The eight forms of IFEval's loose accuracy, the response itself first."""
    lines = response.split("\n")
    cuts = (lines, lines[1:], lines[:-1], lines[1:-1])
    forms = [response, *("\n".join(part).strip() for part in cuts[1:])]
    return [*forms, *(form.replace("*", "") for form in forms)]


def read_constraints(raw: Sequence[Mapping[str, Any]]) -> list[Constraint]:
    """Constraints from a row's plain data, ``[{"name": …, parameter: value, …}, …]``.

    Raises:
        UserError: none at all, or one that :class:`Constraint` refuses.
    """
    if not raw:
        raise UserError("a problem without constraints", hint="give it at least one")
    return [Constraint(str(item.get("name")), {k: v for k, v in item.items() if k != "name"}) for item in raw]


def verdicts(response: str, constraints: Sequence[Constraint], *, loose: bool = False) -> list[bool]:
    """One verdict per constraint, in order."""
    if len(response) > MOST_CHARACTERS:
        return [False] * len(constraints)
    return [constraint.holds(response, loose=loose) for constraint in constraints]

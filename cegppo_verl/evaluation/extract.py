"""Find the answer in a response. Pure string work in linear time; nothing here is evaluated.

Three rules, one per kind of task; the data row says which (``extra_info["extract"]``):

- ``boxed``: the content of the last complete ``\\boxed{…}``; without one there is no answer.
- ``number``: the last numeral in that box, or in the whole response when there is no box.
- ``whole``: the response itself, which must be one integer as it is usually written (no leading zeros, no
  signs of arithmetic): what looks like an expression is not an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_TAIL = 200_000  # characters, counted from the end: an answer comes last, and 32k tokens fit
MAX_ANSWER = 1_000  # characters; a longer "answer" is not one

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_PLAIN = re.compile(r"0|-?[1-9][0-9]*")
# Thousands may be grouped ("1,234"). A sign counts where no operand stands before it: "7-2" ends in 2.
_NUMERAL = re.compile(r"(?:(?<![\w)\]}.])-)?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?")


def last_boxed(text: str) -> str | None:
    """Content of the last complete ``\\boxed{…}`` or ``\\fbox{…}``, of the innermost when nested."""
    first = max(0, len(text) - MAX_TAIL)
    start = min((i for i in (text.find(word, first) for word in ("\\boxed", "\\fbox")) if i >= 0), default=-1)
    return None if start < 0 else _last_closed_box(text, start)


def _last_closed_box(text: str, start: int) -> str | None:
    """One pass with a stack of open braces: (where the content begins, is it a box)."""
    stack: list[tuple[int, bool]] = []
    best: tuple[int, int] | None = None
    for match in _BRACES.finditer(text, start):
        token = match.group()
        if token.endswith("{") and token != "\\{":
            stack.append((match.end(), len(token) > 1))
        elif token == "}" and stack:
            begin, is_box = stack.pop()
            if is_box and (best is None or begin > best[0]):
                best = (begin, match.start())
    return text[best[0] : best[1]] if best else None


def last_numeral(text: str) -> str | None:
    """The last number written in digits, without grouping commas."""
    found = None
    for match in _NUMERAL.finditer(text, max(0, len(text) - MAX_TAIL)):
        found = match
    return found.group().replace(",", "") if found else None


def canonical_integer(text: str) -> str | None:
    """A plain decimal integer in its one usual form ("+007" becomes "7", "-0" becomes "0"), else None.

    Equality of these strings is equality of the integers, without converting them: no limit on digits.
    """
    if not _INTEGER.fullmatch(text):
        return None
    digits = text.lstrip("+-").lstrip("0")
    if not digits:
        return "0"
    return f"-{digits}" if text[0] == "-" else digits


def clean(text: str) -> str:
    """Without white space, dollar and per-cent signs, a full stop and braces that only surround the answer.

    "50\\%" and "50" count as the same answer, as in the MATH benchmark; 0.5 is another one.
    """
    text = text.strip()
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(closing):
            text = text[2:-2].strip()
    text = text.strip("$ \n\t").removesuffix(".").removesuffix("%").removesuffix("\\").rstrip()
    while len(text) > 2 and text[0] == "{" and text[-1] == "}" and "{" not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def _boxed(response: str) -> str | None:
    return last_boxed(response)


def _number(response: str) -> str | None:
    box = last_boxed(response)
    return last_numeral(response if box is None else box)


def _whole(response: str) -> str | None:
    text = response.strip()
    return text if _PLAIN.fullmatch(text) else None


RULES: dict[str, Callable[[str], str | None]] = {"boxed": _boxed, "number": _number, "whole": _whole}


def extract_answer(response: str, rule: str) -> str | None:
    """The answer in ``response`` by one of :data:`RULES`; None when there is none or it is too long.

    Raises:
        KeyError: unknown rule.
    """
    answer = RULES[rule](response)
    if answer is None or len(answer) > MAX_ANSWER:
        return None
    return clean(answer) or None

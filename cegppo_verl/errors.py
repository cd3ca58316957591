"""Errors that a person can act on: what is wrong, where, the nearest valid name, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

EXIT_USER_ERROR = 2


class UserError(Exception):
    """Something the user can mend. The command line prints it and exits with code 2.

    Args:
        message: what is wrong, one sentence.
        file: the file at fault, if any.
        key: dotted key path inside ``file``, e.g. ``arms[1].params.beta1``.
        hint: the fix, one sentence in the imperative.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        key: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.message, self.file, self.key, self.hint = message, file, key, hint
        super().__init__(self._text())

    def _text(self) -> str:
        place = ": ".join(str(part) for part in (self.file, self.key) if part)
        lines = [f"{place}: {self.message}" if place else self.message]
        if self.hint:
            lines.append(f"  fix: {self.hint}")
        return "\n".join(lines)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that looks most like ``word``, or None when nothing is close."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A hint that names the nearest valid name, else lists all of them."""
    known = sorted(candidates)
    guess = nearest(word, known)
    listing = ", ".join(known)
    return f"did you mean '{guess}'? Valid: {listing}" if guess else f"valid: {listing}"

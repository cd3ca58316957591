"""Text of unknown origin on a terminal: nothing in it is obeyed, nothing in it is lost."""

from __future__ import annotations

import re

from rich.console import Console
from rich.text import Text

# Control characters, and those that reorder what follows them.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def visible(text: object) -> str:
    """One line, with control characters spelled out (``\\x1b``), lone surrogates too."""
    one_line = " ".join(str(text).split("\n")).replace("\t", " ")
    return _COMMANDS.sub(_spelled, one_line).encode("utf-8", "backslashreplace").decode()


def readable(text: str) -> str:
    """A log for a terminal: colours and line ends stay, every other control character is spelled out."""
    kept = [*_COLOUR.findall(text), ""]
    parts = [_COMMANDS.sub(_spelled, part.replace("\r\n", "\n")) for part in _COLOUR.split(text)]
    return "".join(part + colour for part, colour in zip(parts, kept, strict=True))


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def plain(text: object, style: str = "") -> Text:
    """For a table cell: no markup, no emoji codes."""
    return Text(visible(text), style)


def counted(number: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def say(console: Console, text: object, style: str = "") -> None:
    """Print a line as it is."""
    console.print(plain(text, style), highlight=False, soft_wrap=True)

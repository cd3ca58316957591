"""Numbers as text, and foreign text made harmless."""

from __future__ import annotations

import math
import unicodedata

from cegppo_verl.stats import Interval

MINUS = "−"


def number(value: float, digits: int) -> str:
    """Fixed number of decimals, true minus sign, no negative zero."""
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    """As ``number``, with a plus sign on positive values."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def percent(interval: Interval) -> str:
    """``94.9 [91.4, 97.7]``; without an interval it says so."""
    return _with_interval(number, interval, 100, 1)


def points(interval: Interval) -> str:
    """A difference in percentage points: ``−3.9 [−6.8, −1.1]``."""
    return _with_interval(signed, interval, 100, 1)


def _with_interval(form, interval: Interval, factor: float, digits: int) -> str:  # type: ignore[no-untyped-def]
    if math.isnan(interval.low):
        return f"{form(factor * interval.point, digits)} [no interval]"
    low, high = (form(factor * end, digits) for end in (interval.low, interval.high))
    return f"{form(factor * interval.point, digits)} [{low}, {high}]"


def p_value(p: float) -> str:
    """``0.012``; ``< 0.001``."""
    return p_relation(p).removeprefix("= ")


def p_relation(p: float) -> str:
    """``= 0.012``; ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def scientific(value: float) -> str:
    """Up to three significant digits, exponent below 0.001: ``2.9e−6``."""
    text = f"{value:.3g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}".replace("e-0", "e-")
    return text.replace("-", MINUS)


def file_name(foreign: str) -> str:
    """Foreign text as a part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in foreign)


def visible(text: object, limit: int | None = None) -> str:
    """Foreign text with control, bidirectional-override and unpaired surrogate characters made visible.

    They are illegal in HTML or can make a line read as something else. Tabs and line breaks stay.

    Args:
        limit: characters kept; what is cut off is counted.
    """
    full = str(text)
    kept = full if limit is None else full[:limit]
    shown = "".join(_visible_character(character) for character in kept)
    return shown if len(kept) == len(full) else f"{shown} … ({len(full) - len(kept)} more characters)"


def _visible_character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return character
    return f"⟨U+{ord(character):04X}⟩"


def markdown(text: object) -> str:
    """Foreign text for one line of Markdown: nothing in it starts markup, ends a table cell or is HTML."""
    flat = " ".join(visible(text).split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        flat = flat.replace(character, entity)
    return "".join(f"\\{c}" if c in "\\`*_[]|#!$~" else c for c in flat)

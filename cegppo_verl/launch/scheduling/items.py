"""What waits, what runs, what is to start; and the order in which waiting things are considered.

Times are hours on one clock, whichever the caller keeps: ``now``, ``ends_at`` and ``hours`` are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A cell that waits.

    Attributes:
        key: names it; unique among what waits, and the last tie-breaker of the order.
        nodes: how many different nodes, at least 1.
        gpus_per_node: on each of them, at least 1.
        hours: expected wall-clock time, None when nothing is known.
        priority: larger goes first.
    """

    key: str
    nodes: int
    gpus_per_node: int
    hours: float | None = None
    priority: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """``(nodes, gpus_per_node)``."""
        return self.nodes, self.gpus_per_node

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True)
class Running:
    """An item at work on ``nodes`` (indices into ``free``); ``ends_at`` is expected, None when unknown."""

    item: Item
    nodes: tuple[int, ...]
    ends_at: float | None


@dataclass(frozen=True)
class Placement:
    """Start ``item`` now on ``nodes``: ascending indices, ``item.gpus_per_node`` GPUs of each."""

    item: Item
    nodes: tuple[int, ...]


def order(items: Iterable[Item]) -> list[Item]:
    """Highest priority first, within it the longest expected first, then the one that needs most GPUs.

    What is started last decides when everything is finished, so it should be short. An item of unknown
    length is taken to be as long as the longest known of its size (of any size, where none is known), and
    goes before that one: wrongly early costs little, wrongly late is the tail that all others wait for,
    and its first steps are the measurement that the estimate lacks.
    """
    items = list(items)
    longest = _longest(items)
    anywhere = max(longest.values(), default=0.0)

    def place(item: Item) -> tuple[int, float, bool, int, int, str]:
        known = item.hours is not None
        hours = item.hours if item.hours is not None else longest.get(item.size, anywhere)
        return -item.priority, -hours, known, -item.gpus, -item.gpus_per_node, item.key

    return sorted(items, key=place)


def _longest(items: Sequence[Item]) -> dict[tuple[int, int], float]:
    """Longest known hours by size."""
    longest: dict[tuple[int, int], float] = {}
    for item in items:
        if item.hours is not None:
            longest[item.size] = max(item.hours, longest.get(item.size, item.hours))
    return longest

"""When and where room comes free for the first item that does not fit, and what others may use till then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cegppo_verl.launch.scheduling.items import Item

Ends = Sequence[tuple[float, int]]  # of one node: when how many GPUs are expected back


@dataclass(frozen=True)
class Reservation:
    """Nodes held for an item that waits.

    Attributes:
        at: expected start, in the clock's hours; infinite when it hangs on something of unknown length.
        spare: by held node, the GPUs there that the item will not need at ``at``: others may have them for
            as long as they like.
    """

    item: Item
    at: float
    spare: dict[int, int]

    @property
    def nodes(self) -> tuple[int, ...]:
        """The held nodes."""
        return tuple(sorted(self.spare))

    def ends_before(self, item: Item, now: float) -> bool:
        """Whether the item, started now, is out of the way in time, by what is known of both."""
        return item.hours is not None and math.isfinite(self.at) and now + item.hours <= self.at


def reserve(item: Item, free: Sequence[int], ends: Sequence[Ends], now: float) -> Reservation | None:
    """The earliest time at which enough nodes have enough room, and nodes that have it then.

    Among the nodes that are ready in time, those are held whose holding ties up least. What has run beyond
    its expected end is expected to end at any moment. Where that, or something of unknown length, has to be
    waited for, the nodes with the fewest GPUs still to come free are held, and only what is free there beyond
    the need is lent: the number to come can then only fall, so the item starts whatever the estimates say.

    Args:
        free, ends: per node.

    Returns:
        None where the item would not fit even if everything that is known to run had ended.
    """
    g = item.gpus_per_node
    ready = [(_ready(free[n], ends[n], g, now), n) for n in range(len(free))]
    possible = sorted((at, n) for at, n in ready if at is not None)
    if len(possible) < item.nodes:
        return None
    at = possible[item.nodes - 1][0]
    in_time = [n for ready_at, n in possible if ready_at <= at]
    if at <= now or math.isinf(at):
        # What is still to come cannot be lent out: it would be lent again at every decision.
        spare = {n: max(0, free[n] - g) for n in in_time}
        chosen = sorted(in_time, key=lambda n: (max(0, g - free[n]), n))
    else:
        spare = {n: _free_at(at, free[n], ends[n]) - g for n in in_time}
        chosen = sorted(in_time, key=lambda n: (max(0, free[n] - spare[n]), n))
    return Reservation(item, at, {n: spare[n] for n in chosen[: item.nodes]})


def _ready(free: int, ends: Ends, gpus: int, now: float) -> float | None:
    """When the node has so many GPUs free; None for never."""
    if free >= gpus:
        return now
    for at, returned in sorted(ends):
        free += returned
        if free >= gpus:
            return max(at, now)
    return None


def _free_at(at: float, free: int, ends: Ends) -> int:
    return free + sum(gpus for end, gpus in ends if end <= at)

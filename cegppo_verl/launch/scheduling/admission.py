"""Which waiting items to start now, and on which nodes.

Items are taken in order (see :func:`order`) and packed by best fit. The first that does not fit gets a
reservation (EASY backfilling): later ones overtake only if they are expected to end before it starts, or use
room that it will not need. Later ones that do not fit either just wait: each becomes the first in its turn.
An item that would not fit even on nodes emptied of everything known (too large, or others' jobs are in the
way) holds nobody up.

Who overtakes by an estimate that was too short delays the reserved item by its overrun, once: from then on
its end is "at any moment", and nothing overtakes on those nodes any more. An item of unknown length
never counts as ending in time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cegppo_verl.launch.scheduling.items import Item, Placement, Running, order
from cegppo_verl.launch.scheduling.reservation import Reservation, reserve
from cegppo_verl.launch.scheduling.room import HeldRoom, Room


@dataclass(frozen=True)
class Decision:
    """What to start now, in order, and what the first that must wait is waiting for."""

    placements: list[Placement]
    reservation: Reservation | None


def admit(
    waiting: Iterable[Item], running: Iterable[Running], free: Sequence[int], now: float
) -> list[Placement]:
    """The placements of :func:`decide`."""
    return decide(waiting, running, free, now).placements


def decide(waiting: Iterable[Item], running: Iterable[Running], free: Sequence[int], now: float) -> Decision:
    """What to start now. Depends on the arguments' content only, not on the order of items or nodes.

    Args:
        running: what this caller has at work; others' jobs show only as GPUs that are not free.
        free: free GPUs per node, now.
        now: on the clock of ``Running.ends_at``, hours.
    """
    if not any(free):
        return Decision([], None)
    return decide_ordered(order(waiting), running, free, now)


def decide_ordered(
    waiting: Iterable[Item], running: Iterable[Running], free: Sequence[int], now: float
) -> Decision:
    """:func:`decide` for items that are in the wanted order already."""
    ends = _ends(running, len(free), now)
    # Nodes are ranked by what runs on them, so that no choice hangs on a node's name. Of equally full nodes
    # the one that is busy longest goes first: the others are whole again sooner.
    rank = sorted(range(len(free)), key=lambda n: (ends[n], -n), reverse=True)
    state = _State([free[n] for n in rank], [ends[n] for n in rank], now)
    for item in waiting:
        if not state.free:
            break
        state.consider(item)
    return _named(state, rank)


def _ends(running: Iterable[Running], nodes: int, now: float) -> list[list[tuple[float, int]]]:
    """Per node, latest first: when how many GPUs are expected back."""
    ends: list[list[tuple[float, int]]] = [[] for _ in range(nodes)]
    for work in running:
        at = math.inf if work.ends_at is None else max(work.ends_at, now)
        for node in work.nodes:
            ends[node].append((at, work.item.gpus_per_node))
    for of_node in ends:
        of_node.sort(reverse=True)
    return ends


class _State:
    """One decision in the making; nodes by rank."""

    def __init__(self, free: Sequence[int], ends: list[list[tuple[float, int]]], now: float) -> None:
        self.now, self.ends = now, ends
        self.room, self.held = Room(free), HeldRoom()
        self.free = sum(free)
        self.reservation: Reservation | None = None
        self.started: list[tuple[Item, list[int]]] = []
        self._too_large: set[tuple[tuple[int, int], bool]] = set()  # room only shrinks: once no, always no

    def consider(self, item: Item) -> None:
        """Start it, or reserve for it, or leave it waiting."""
        in_time = self.reservation is not None and self.reservation.ends_before(item, self.now)
        if (item.size, in_time) in self._too_large:
            return
        nodes = self._take(item, in_time)
        if nodes:
            self._start(item, nodes)
            return
        self._too_large.add((item.size, in_time))
        if self.reservation is None:
            self._reserve(item)

    def _take(self, item: Item, in_time: bool) -> list[int]:
        """Nodes for it, or none. What is left on held nodes goes first: less can use it."""
        held = self.held.tightest(item.nodes, item.gpus_per_node, in_time)
        others = item.nodes - len(held)
        if not self.room.fits(others, item.gpus_per_node):
            return []
        self.held.use(held, item.gpus_per_node, in_time)
        return held + self.room.take(others, item.gpus_per_node)

    def _start(self, item: Item, nodes: list[int]) -> None:
        self.started.append((item, nodes))
        self.free -= item.gpus
        at = math.inf if item.hours is None else self.now + item.hours
        for node in nodes:
            self.ends[node].append((at, item.gpus_per_node))

    def _reserve(self, item: Item) -> None:
        free = [self.room[n] for n in range(len(self.ends))]
        self.reservation = reserve(item, free, self.ends, self.now)
        if self.reservation is not None:
            for node, spare in self.reservation.spare.items():
                self.held.add(node, self.room.remove(node), spare)


def _named(state: _State, rank: Sequence[int]) -> Decision:
    """Back from ranks to the caller's indices."""
    placements = [Placement(item, tuple(sorted(rank[n] for n in nodes))) for item, nodes in state.started]
    held = state.reservation
    if held is not None:
        held = dataclasses.replace(held, spare={rank[n]: spare for n, spare in held.spare.items()})
    return Decision(placements, held)

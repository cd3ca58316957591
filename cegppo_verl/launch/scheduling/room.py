"""Free GPUs per node, kept by how many there are, so that the tightest fit is found at once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

GONE = -1


class Room:
    """Free GPUs of nodes 0…n−1. Room only shrinks: one decision starts things, it ends none."""

    def __init__(self, free: Sequence[int]) -> None:
        self._free = list(free)
        self._count = [0] * (max(free, default=0) + 1)  # nodes by free GPUs
        self._nodes: list[list[int]] = [[] for _ in self._count]  # heaps; may hold nodes that have moved on
        for node, gpus in enumerate(self._free):
            self._count[gpus] += 1
            self._nodes[gpus].append(node)

    def __getitem__(self, node: int) -> int:
        return self._free[node]

    def fits(self, nodes: int, gpus: int) -> bool:
        """Whether so many nodes have so many GPUs free."""
        return sum(self._count[gpus:]) >= nodes

    def take(self, nodes: int, gpus: int) -> list[int]:
        """The fullest nodes that still fit, lowest index first; their GPUs are taken.

        Small things thereby fill nodes that are in use, and whole nodes stay for what needs them.
        Call only where :meth:`fits` holds.
        """
        found = [self._pop(gpus) for _ in range(nodes)]
        for node in found:  # only now: a node just taken from must not be found again
            left = self._free[node] = self._free[node] - gpus
            self._count[left] += 1
            heapq.heappush(self._nodes[left], node)
        return found

    def remove(self, node: int) -> int:
        """Take the node away altogether; returns what it had free."""
        free, self._free[node] = self._free[node], GONE
        self._count[free] -= 1
        return free

    def _pop(self, gpus: int) -> int:
        level = next(n for n in range(gpus, len(self._count)) if self._count[n])
        while True:
            node = heapq.heappop(self._nodes[level])
            if self._free[node] == level:
                self._count[level] -= 1
                return node


class HeldRoom:
    """What is free on the nodes held for a reservation: for items that end in time, and for others."""

    def __init__(self) -> None:
        self._free: dict[int, int] = {}
        self._spare: dict[int, int] = {}  # not needed by the reserved item, so nobody's end matters

    def add(self, node: int, free: int, spare: int) -> None:
        """Hold a node."""
        self._free[node], self._spare[node] = free, spare

    def tightest(self, nodes: int, gpus: int, in_time: bool) -> list[int]:
        """Up to so many nodes that have room for an item that ends in time or not, the fullest first."""
        room = ((free if in_time else min(free, self._spare[n]), n) for n, free in self._free.items())
        return [n for _, n in sorted(r for r in room if r[0] >= gpus)[:nodes]]

    def use(self, nodes: Sequence[int], gpus: int, in_time: bool) -> None:
        """Take GPUs of held nodes."""
        for node in nodes:
            self._free[node] -= gpus
            self._spare[node] -= 0 if in_time else gpus

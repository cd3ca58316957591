"""What admission promises, on generated clusters; the oracles here are brute force."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cegppo_verl.launch.scheduling import Item, Placement, Running, admit, decide, order

HOURS = st.none() | st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0])

on_a_busy_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def items(draw, prefix="w", most=12, hours=HOURS):
    sizes = st.tuples(st.integers(1, 3), st.sampled_from([1, 1, 2, 3, 4]))
    rows = draw(st.lists(st.tuples(sizes, hours, st.integers(-1, 1)), max_size=most))
    return [Item(f"{prefix}{i}", *size, hours, priority) for i, (size, hours, priority) in enumerate(rows)]


@st.composite
def situations(draw, hours=HOURS):
    """(waiting, running, free, now): things at work on a cluster of 1 to 5 nodes, some of it another's."""
    free = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    running, now = [], 10.0
    for item in draw(items("r", 8, hours)):
        nodes = draw(st.permutations(range(len(free))))[: item.nodes]
        if len(nodes) == item.nodes and all(free[n] >= item.gpus_per_node for n in nodes):
            for node in nodes:
                free[node] -= item.gpus_per_node
            late = draw(st.sampled_from([-1.0, 0.0, 2.0]))
            ends_at = None if item.hours is None else now + item.hours - late
            running.append(Running(item, tuple(sorted(nodes)), ends_at))
    return draw(items(hours=hours)), running, free, now


def after(placements, running, free, now):
    """(running, free) once the placements have started."""
    free, running = list(free), list(running)
    for p in placements:
        for node in p.nodes:
            free[node] -= p.item.gpus_per_node
        running.append(Running(p.item, p.nodes, None if p.item.hours is None else now + p.item.hours))
    return running, free


def fits(item, free):
    return sum(f >= item.gpus_per_node for f in free) >= item.nodes


def earliest(item, running, free, now):
    """Brute force: the first time at which the item fits if nothing else starts; None for never."""
    ends = [(math.inf if r.ends_at is None else max(r.ends_at, now), r) for r in running]
    for at in sorted({now, *(end for end, _ in ends)}):
        room = list(free)
        for end, r in ends:
            for node in r.nodes if end <= at else ():
                room[node] += r.item.gpus_per_node
        if fits(item, room):
            return at
    return None


@on_a_busy_machine
@given(situations())
def test_no_node_is_overcommitted_and_a_placement_is_exactly_what_is_needed(situation):
    waiting, running, free, now = situation
    placements = admit(waiting, running, free, now)
    assert min(after(placements, running, free, now)[1]) >= 0
    for p in placements:
        assert len(set(p.nodes)) == p.item.nodes == len(p.nodes)
    keys = [p.item.key for p in placements]
    assert len(set(keys)) == len(keys)
    assert {p.item for p in placements} <= set(waiting)


@on_a_busy_machine
@given(situations())
def test_nothing_startable_waits_unless_a_reservation_forbids_it(situation):
    waiting, running, free, now = situation
    decision = decide(waiting, running, free, now)
    running, free = after(decision.placements, running, free, now)
    started = {p.item for p in decision.placements}
    left = [i for i in order(waiting) if i not in started and fits(i, free)]
    held = decision.reservation
    if held is None:
        assert left == []
    for item in left:
        assert item.hours is None or math.isinf(held.at) or now + item.hours > held.at, "would end in time"
        usable = [min(f, _spare(held, n, running, free, now)) for n, f in enumerate(free)]
        assert not fits(item, usable), "there is room that the reserved item does not need"


def _spare(held, node, running, free, now):
    """GPUs of the node that stay free although the reserved item starts there on time."""
    if node not in held.nodes:
        return free[node]
    if held.at <= now or math.isinf(held.at):  # nobody knows when: only what is free beyond the need
        return max(0, free[node] - held.item.gpus_per_node)
    back = sum(
        r.item.gpus_per_node
        for r in running
        if node in r.nodes and (math.inf if r.ends_at is None else max(r.ends_at, now)) <= held.at
    )
    return free[node] + back - held.item.gpus_per_node


@on_a_busy_machine
@given(situations())
def test_the_reservation_is_the_earliest_possible_and_no_overtaker_delays_it(situation):
    waiting, running, free, now = situation
    decision = decide(waiting, running, free, now)
    held = decision.reservation
    assume(held is not None)
    assert earliest(held.item, *after(decision.placements, running, free, now), now) == held.at
    before = list(
        itertools.takewhile(lambda p: _goes_before(p.item, held.item, waiting), decision.placements)
    )
    assert earliest(held.item, *after(before, running, free, now), now) == held.at
    assert not fits(held.item, after(before, running, free, now)[1])


def _goes_before(one, other, waiting):
    ordered = order(waiting)
    return ordered.index(one) < ordered.index(other)


@on_a_busy_machine
@given(situations())
def test_whoever_is_not_held_up_by_its_size_starts_in_order(situation):
    """Up to the first that does not fit, nobody is skipped, so the highest priority is served first."""
    waiting, running, free, now = situation
    placements = admit(waiting, running, free, now)
    running, room = list(running), list(free)
    for item, placement in itertools.zip_longest(order(waiting), placements):
        if item is None or not fits(item, room):
            return
        assert placement is not None
        assert placement.item == item
        running, room = after([placement], running, room, now)


@on_a_busy_machine
@given(situations(), st.randoms(use_true_random=False))
def test_neither_the_order_of_the_lists_nor_the_names_of_nodes_matter(situation, rng):
    waiting, running, free, now = situation
    decision = decide(waiting, running, free, now)
    names = rng.sample(range(len(free)), len(free))  # old index → new
    renamed = [Running(r.item, tuple(sorted(names[n] for n in r.nodes)), r.ends_at) for r in running]
    other_free = [free[names.index(n)] for n in range(len(free))]
    shuffled, renamed = rng.sample(waiting, len(waiting)), rng.sample(renamed, len(renamed))
    other = decide(shuffled, renamed, other_free, now)
    assert [p.item for p in other.placements] == [p.item for p in decision.placements]
    assert (other.reservation and other.reservation.at) == (decision.reservation and decision.reservation.at)
    assert Counter(after(other.placements, [], other_free, now)[1]) == Counter(
        after(decision.placements, [], free, now)[1]
    )
    assert decide(waiting, running, free, now) == decision


@on_a_busy_machine
@given(items(most=20))
def test_order_is_total_and_the_same_for_any_input_order(waiting):
    assert order(reversed(waiting)) == order(waiting)
    assert [i.priority for i in order(waiting)] == sorted((i.priority for i in waiting), reverse=True)


def test_priority_then_longest_then_largest():
    short, long = Item("short", 1, 1, 1.0), Item("long", 1, 1, 9.0)
    large, urgent = Item("large", 2, 4, 1.0), Item("urgent", 1, 1, 0.5, priority=1)
    assert order([short, long, large, urgent]) == [urgent, long, large, short]


def test_unknown_length_counts_as_the_longest_of_its_size():
    known = [Item("a", 1, 1, 2.0), Item("b", 1, 1, 6.0), Item("c", 2, 4, 4.0)]
    unknown = Item("u", 1, 1), Item("v", 2, 4), Item("w", 1, 2)
    assert [i.key for i in order([*known, *unknown])] == ["w", "u", "b", "v", "c", "a"]
    assert [i.key for i in order(unknown)] == ["v", "w", "u"]


def test_small_cells_fill_the_nodes_in_use():
    assert admit([Item("a", 1, 2, 1.0)], [], [8, 3, 2, 1], 0.0) == [Placement(Item("a", 1, 2, 1.0), (2,))]


def test_of_equally_full_nodes_the_one_busy_longest_is_taken():
    running = [Running(Item("x", 1, 4), (0,), 1.0), Running(Item("y", 1, 4), (1,), 5.0)]
    assert admit([Item("a", 1, 1, 1.0)], running, [4, 4], 0.0)[0].nodes == (1,)


def test_a_large_cell_is_waited_for_and_only_the_short_overtake():
    large, late, quick = Item("large", 2, 4, 9.0), Item("late", 1, 1, 3.0), Item("quick", 1, 1, 2.0)
    running = [Running(Item("x", 1, 4), (1,), 2.0)]
    decision = decide([large, late, quick], running, [4, 0], 0.0)
    assert [p.item.key for p in decision.placements] == ["quick"]
    assert (decision.reservation.at, decision.reservation.nodes) == (2.0, (0, 1))


def test_room_that_the_reserved_cell_does_not_need_is_used():
    large, late = Item("large", 1, 3, 9.0), Item("late", 1, 1, 8.0)
    running = [Running(Item("x", 1, 2), (0,), 2.0)]
    assert [p.item.key for p in admit([large, late], running, [2], 0.0)] == ["late"]
    assert admit([large, Item("two", 1, 2, 8.0)], running, [2], 0.0) == []


def test_nothing_of_unknown_length_overtakes():
    large, unknown = Item("large", 2, 4, 9.0, priority=1), Item("unknown", 1, 1)
    running = [Running(Item("x", 1, 4), (1,), 2.0)]
    assert admit([large, unknown], running, [4, 0], 0.0) == []


def test_nothing_overtakes_where_the_end_is_unknown_or_overdue():
    large, quick = Item("large", 2, 4, 9.0), Item("quick", 1, 1, 0.1)
    for ends_at in (None, -1.0):
        assert admit([large, quick], [Running(Item("x", 1, 4), (1,), ends_at)], [4, 0], 0.0) == []


def test_what_is_still_to_come_at_an_unknown_time_is_not_lent_out():
    large, small = Item("large", 1, 3, 9.0, priority=1), Item("small", 1, 1, 0.1)
    for ends_at in (None, -1.0):
        running = [Running(Item(f"x{i}", 1, 1), (0,), ends_at) for i in range(3)]
        assert admit([large, small], running, [1], 0.0) == []


def test_what_can_never_fit_holds_nobody_up():
    decision = decide(
        [Item("huge", 3, 4, 9.0), Item("wide", 1, 9, 9.0), Item("a", 1, 1, 1.0)], [], [4, 4], 0.0
    )
    assert [p.item.key for p in decision.placements] == ["a"]
    assert decision.reservation is None


@settings(on_a_busy_machine, max_examples=30)
@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 3), st.integers(2, 4))
def test_an_endless_stream_of_small_cells_does_not_starve_a_large_one(seed, lengths_known, nodes, gpus):
    """Lengths are off by up to 2, yet the large cell starts before anything begun well after it came ends."""
    rng, free, ends, now, came = random.Random(seed), [4] * 4, {}, 0.0, 0.0
    large = Item("large", nodes, gpus, 0.1, priority=1)
    for step in range(150):
        stream = [
            Item(f"{step}-{i}", 1, 1, rng.uniform(0.5, 4.0) if lengths_known else None) for i in range(9)
        ]
        waiting = [*stream, large] if step > 20 else stream
        for p in admit(waiting, ends, free, now):
            if p.item is large:
                assert now <= came + 4 * 2 * 2  # the longest at work then, and one overtaker's overrun
                return
            free[p.nodes[0]] -= 1
            expected = None if p.item.hours is None else now + p.item.hours
            ends[Running(p.item, p.nodes, expected)] = now + (p.item.hours or 2.0) * rng.uniform(0.5, 2.0)
        came = now if step <= 20 else came
        first = min(ends, key=ends.__getitem__)
        now = ends.pop(first)
        free[first.nodes[0]] += 1
    pytest.fail("never started")


def test_ten_thousand_waiting_on_a_thousand_nodes_are_decided_quickly():
    rng = random.Random(0)
    sizes = [(1, 1), (1, 2), (1, 4), (1, 8), (2, 8), (4, 8)]
    cells = [Item(f"c{i}", *rng.choice(sizes), rng.lognormvariate(1, 0.6)) for i in range(20_000)]
    placed = admit(cells[:10_000], [], [8] * 1000, 0.0)
    running = [Running(p.item, p.nodes, p.item.hours) for p in placed]
    free = [0] * 1000
    for r in running[::50]:
        for node in r.nodes:
            free[node] += r.item.gpus_per_node
    running = [r for i, r in enumerate(running) if i % 50]
    begun = time.process_time()
    assert decide(cells[10_000:], running, free, 1.0).placements
    assert time.process_time() - begun < 0.2  # 0.02 measured; ten times that is a change of complexity

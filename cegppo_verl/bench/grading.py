"""Grading throughput: ``Grader`` on all cores against plain math-verify in one process.

Both sides grade the same items in alternating rounds of one run. The plain side is what a user writes without
us: ``verify(parse(truth), parse(response))`` in the main thread with math-verify's own time-outs, each truth
parsed once. Mixtures, all from the gold file's responses after the text of a short solution:

- ``expressions``: no two items alike (numbers varied) and no truth an integer, so that math-verify decides
  and nothing is remembered: the worst case for us;
- ``distinct``: the same with all triples;
- ``rollouts``: eight samples per problem, most ending in few different answers, as a policy writes them.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cegppo_verl.evaluation.agreement import Triple, read_gold
from cegppo_verl.evaluation.grading import SECONDS, Grader, read_truth

GOLD = Path(__file__).parents[2] / "tests" / "evaluation" / "gold.jsonl"
SAMPLES = 8  # per problem, the paper's group size
PERCENTILES = (50, 99, 99.9)
PREAMBLE = (
    "Let us denote the unknown by $x$ and write down what is given. From $3x + 4 = 19$ we get $x = 5$, and "
    "the area is $\\frac{1}{2} \\cdot 5 \\cdot 12 = 30$. Next we consider the second case, where $x < 0$; "
    "there the left-hand side is negative, so it has no solution. Checking: $3 \\cdot 5 + 4 = 19$. "
)
# A process of its own: math-verify's time-outs need the main thread, and its caches must not be ours.
PLAIN = """
import json, sys, time
from math_verify import parse, verify
parse("$1$")
golds = {}
def grade(truth, response):
    if truth not in golds:
        golds[truth] = parse("$" + truth + "$")
    return verify(golds[truth], parse(response))
print("ready", flush=True)
for line in sys.stdin:
    seconds = []
    for truth, response in json.loads(line):
        start = time.perf_counter()
        grade(truth, response)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds), flush=True)
"""
Item = tuple[str, str]  # truth, response


@dataclass(frozen=True)
class Side:
    """One side on one mixture: items per second, and seconds per item at PERCENTILES and at most."""

    throughput: float
    latencies: tuple[float, ...]
    slowest: float


class Plain:
    """Single-process math-verify."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", PLAIN]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def grade(self, items: Sequence[Item]) -> list[float]:
        """Seconds per item."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(items) + "\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def pooled(grader: Grader, threads: int) -> Callable[[Sequence[Item]], list[float]]:
    """Our side: as many threads as verl's reward worker might use, each waiting for its verdict."""

    def one(item: Item) -> float:
        start = time.perf_counter()
        grader.grade(item[1], item[0])
        return time.perf_counter() - start

    def grade(items: Sequence[Item]) -> list[float]:
        with ThreadPoolExecutor(threads) as executor:
            return list(executor.map(one, items))

    return grade


def distinct(triples: Sequence[Triple], count: int, rng: random.Random) -> list[Item]:
    """``count`` items of which no two have the same text in the box: some number in each is varied."""
    found: dict[Item, None] = {}
    while len(found) < count:
        triple = rng.choice(triples)
        found[triple.answer, PREAMBLE + varied(triple.response, rng)] = None
    return list(found)


def varied(response: str, rng: random.Random) -> str:
    """Another number of three to five digits for the last one in ``response``; without one, a term more."""
    numbers = list(re.finditer(r"(?<![\w.,^_-])\d+(?![\w.,])", response))
    number = str(rng.randrange(100, 100_000))
    if not numbers:
        return re.sub(r"\}([^}]*)$", lambda m: f" + {number}" + "}" + m.group(1), response, count=1)
    last = numbers[-1]
    return response[: last.start()] + number + response[last.end() :]


def rollouts(triples: Sequence[Triple], count: int, rng: random.Random) -> list[Item]:
    """``count`` items, SAMPLES per problem: right ones as written, wrong ones with one of three answers."""
    items: list[Item] = []
    while len(items) < count:
        triple, others = rng.choice(triples), [rng.randrange(1_000) for _ in range(3)]
        wrong = [varied(triple.response, random.Random(other)) for other in others]
        for _ in range(SAMPLES):
            text = triple.response if rng.random() < 0.5 else rng.choice(wrong)
            items.append((triple.answer, PREAMBLE * rng.randint(1, 4) + text))
    return items[:count]


def measure(items: Sequence[Item], workers: int, rounds: int) -> dict[str, Side]:
    """Both sides on the same items, chunk by chunk in turns, so that a busy minute hits both."""
    grader, plain = Grader(workers), Plain()
    grader.grade("\\boxed{\\frac{1}{2}}", "\\frac{1}{3}")  # start the processes
    sides = {"math-verify": plain.grade, "ours": pooled(grader, 4 * workers)}
    clocks: dict[str, float] = dict.fromkeys(sides, 0.0)
    latencies: dict[str, list[float]] = {side: [] for side in sides}
    for chunk in (items[start::rounds] for start in range(rounds)):
        for side, grade in sides.items():
            start = time.perf_counter()
            latencies[side] += grade(chunk)
            clocks[side] += time.perf_counter() - start
    plain.close()
    grader.close()
    return {side: summary(latencies[side], clocks[side]) for side in sides}


def summary(latencies: Sequence[float], seconds: float) -> Side:
    """Throughput and the tail."""
    found = np.percentile(latencies, PERCENTILES)
    return Side(len(latencies) / seconds, tuple(float(value) for value in found), max(latencies))


def mixtures(gold: Path, count: int) -> dict[str, list[Item]]:
    """Items by mixture, the same ones in every run."""
    rng = random.Random(0)
    triples = [t for t in read_gold(gold) if t.extract == "boxed" and not t.answer.startswith('["')]
    expressions = [t for t in triples if read_truth(t.answer).texts and t.verdict != "no_answer"]
    return {
        "expressions": distinct(expressions, count, rng),
        "distinct": distinct(triples, count, rng),
        "rollouts": rollouts(triples, count, rng),
    }


def main(console: Console, items: int = 2000, rounds: int = 10, gold: Path = GOLD) -> dict:
    """Measure all mixtures and print throughput, ratio and tail; returns the numbers."""
    workers = max(2, os.cpu_count() or 1)
    found = {name: measure(found, workers, rounds) for name, found in mixtures(gold, items).items()}
    console.print(table(found, workers))
    return {name: {side: asdict(value) for side, value in sides.items()} for name, sides in found.items()}


def table(found: dict[str, dict[str, Side]], workers: int) -> Table:
    """One row per mixture and side."""
    heads = [f"p{p:g}, ms" for p in PERCENTILES]
    title = f"grading, {workers} workers, limit {SECONDS:g} s of a core"
    shown = Table("mixture", "side", "items/s", "×", *heads, "slowest, ms", title=title)
    for mixture, sides in found.items():
        for name, side in sides.items():
            ratio = side.throughput / sides["math-verify"].throughput
            times = [f"{seconds * 1000:.3g}" for seconds in (*side.latencies, side.slowest)]
            shown.add_row(mixture, name, f"{side.throughput:.0f}", f"{ratio:.2f}", *times)
    return shown

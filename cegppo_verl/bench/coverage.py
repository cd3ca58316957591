"""How often nominal 95 % intervals hold the truth, and how often bold is wrong: simulated, truth known.

    python -m cegppo_verl.bench.coverage [--repeats 1000] [--seed 2026] [--out reports/statistics.md]

The world is stats/simulate.py, one evaluation each bench/coverage_trials.py. The tables replace the generated
block of the report and leave the prose alone. One core, under five minutes with the default.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from cegppo_verl.bench import coverage_trials as trials
from cegppo_verl.errors import UserError
from cegppo_verl.stats import Design
from cegppo_verl.stats.simulate import World

BEGIN, END = "<!-- generated: coverage -->", "<!-- end of generated -->"
DESIGNS = [Design(*sizes) for sizes in product((1, 3, 5, 10), (30, 500), (1, 8, 32))]
BOOT_SHARE = 3  # bootstraps in every third repetition
SPREADS = {"none": 0.0, "2 points": 0.15, "4 points": 0.3}
EDGES = {"5 %": ((1.0, -4.2, 1.2),), "95 %": ((1.0, 4.2, 1.2),)}
Rates = dict[str, float]
Trial = Callable[[int], trials.Outcome]


def bench_coverage(repeats: int = 1000, seed: int = 2026) -> str:
    """Run everything and return the tables as Markdown; a share's standard error is √(.95·.05/repeats).

    Args:
        repeats: simulated evaluations per row; bootstraps run in every third.
        seed: of all generators.
    """
    started = time.process_time()
    parts = [_means, _differences, _spreads, _edges, _macro, _bold, _aggregates, _fits]
    rows = [part(repeats, np.random.default_rng([seed, k])) for k, part in enumerate(parts)]
    minutes = (time.process_time() - started) / 60
    head = (
        f"`python -m cegppo_verl.bench.coverage --repeats {repeats} --seed {seed}`: {minutes:.1f} min of one "
        f"core. Shares in per cent; one standard error of 95 is {_error(repeats)}, in columns marked *boot* "
        f"{_error(repeats // BOOT_SHARE)}."
    )
    return "\n\n".join([head, *rows])


def write(text: str, path: Path) -> None:
    """Put the text between the markers of the report.

    Raises:
        UserError: the file or its markers are missing.
    """
    old = path.read_text() if path.exists() else ""
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise UserError("the report lacks its block", file=str(path), hint=f"it needs {BEGIN} and {END}")
    before, after = old[: old.index(BEGIN)], old[old.index(END) :]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{after}")


def average(trial: Trial, repeats: int) -> Rates:
    """Means over repetitions of whatever each reports; one may leave things out."""
    found: dict[str, list[float]] = defaultdict(list)
    for index in range(repeats):
        for name, value in trial(index).items():
            found[name].append(float(value))
    return {name: float(np.mean(values)) for name, values in found.items()}


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table under a bold title."""
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
    return f"**{title}**\n\n" + "\n".join(lines)


def _means(repeats: int, rng: np.random.Generator) -> str:
    world, rows = World(), []
    for design in DESIGNS:
        found = average(lambda i, d=design: trials.single(world, d, rng, i % BOOT_SHARE == 0), repeats)  # type: ignore[misc]
        own = found["mean"] if design.seeds > 1 else None
        method = _percent(own) if own is not None else f"({_percent(found['mean'])})"
        names = ("pass@8", "bootstrap", "seed spread", "these problems", "these runs")
        rows.append([*_sizes(design), method, *(_percent(found.get(name)) for name in names)])
    heads = [
        "seeds",
        "problems",
        "samples",
        "**mean_interval**",
        "the same, pass@8",
        "percentile bootstrap, *boot*",
    ]
    heads += ["t over seed means alone", 'over="seeds", these problems', 'over="problems", these runs']
    return table("One arm: coverage of the mean", heads, rows)


def _differences(repeats: int, rng: np.random.Generator) -> str:
    world, rows = World(), []
    for design in DESIGNS:
        found = average(lambda i, d=design: trials.paired(world, d, rng, i % BOOT_SHARE == 0), repeats)  # type: ignore[misc]
        method = _percent(found["difference"])
        widths = [f"{100 * found[name]:.1f}" for name in ("half-width", "unpaired half-width")]
        shares = [method if design.seeds > 1 else f"({method})", _percent(found["bootstrap"])]
        rows.append([*_sizes(design), *shares, _percent(found["sign flip"]), *widths])
    heads = ["seeds", "problems", "samples", "**difference_interval**", "percentile bootstrap, *boot*"]
    heads += ["false positives of the sign flip, *boot*", "half-width, points", "unpaired"]
    return table("Two arms on the same problems: coverage of a difference of 2.0 points", heads, rows)


def _spreads(repeats: int, rng: np.random.Generator) -> str:
    rows = []
    for seeds, problems in product((2, 3, 5), (30, 500)):
        design, row = Design(seeds, problems, 8), []
        for sd in SPREADS.values():
            world = replace(World(), seed_sd=sd)
            one = average(lambda i, w=world, d=design: trials.single(w, d, rng, False), repeats)  # type: ignore[misc]
            two = average(lambda i, w=world, d=design: trials.paired(w, d, rng, False), repeats)  # type: ignore[misc]
            row += [_percent(one["mean"]), _percent(two["difference"])]
        rows.append([str(seeds), str(problems), *row])
    heads = ["seeds", "problems"] + [f"{n}: {what}" for n in SPREADS for what in ("mean", "difference")]
    return table(
        "Other between-seed standard deviations, 8 samples: mean_interval, difference_interval", heads, rows
    )


def _edges(repeats: int, rng: np.random.Generator) -> str:
    rows = []
    for (name, mixture), problems in product(EDGES.items(), (30, 500)):
        world, design = replace(World(), difficulty=mixture), Design(3, problems, 8)
        found = average(lambda i, w=world, d=design: trials.single(w, d, rng, i % BOOT_SHARE == 0), repeats)  # type: ignore[misc]
        rows.append([name, str(problems), _percent(found["mean"]), _percent(found["bootstrap"])])
    heads = ["mean accuracy", "problems", "mean_interval", "percentile bootstrap, *boot*"]
    return table("Near 0 and 1: 3 seeds, 8 samples", heads, rows)


def _macro(repeats: int, rng: np.random.Generator) -> str:
    world, rows = World(), []
    for seeds in (2, 3, 5, 10):
        found = average(lambda i, s=seeds: trials.macro(world, s, rng, i % BOOT_SHARE == 0), repeats)  # type: ignore[misc]
        names = ("mean", "bootstrap", "difference", "bootstrap difference")
        rows.append([str(seeds), *(_percent(found[name]) for name in names)])
    heads = ["seeds", "**mean_interval**", "bootstrap_macro, *boot*"]
    heads += ["**difference_interval**", "bootstrap_macro_difference, *boot*"]
    return table("Macro average of five benchmarks (30, 30, 30, 40, 500 problems)", heads, rows)


def _bold(repeats: int, rng: np.random.Generator) -> str:
    world, rows = World(), []
    for arms, seeds, problems in product((2, 4), (3, 5, 10), (30, 500)):
        design = Design(seeds, problems, 8)
        tied = average(lambda i, d=design, m=arms: trials.bold(world, d, [0.0] * m, rng), repeats)  # type: ignore[misc]
        ahead = [0.4, *[0.0] * (arms - 1)]
        gap = average(lambda i, d=design, a=ahead: trials.bold(world, d, a, rng), repeats // 2)  # type: ignore[misc]
        values = [
            tied["rank"],
            gap["rank"],
            gap["right"],
            gap["lost"],
            tied["problems only"],
            tied["highest"],
        ]
        rows.append([str(arms), str(seeds), str(problems), *(_percent(v) for v in values)])
    heads = ["arms", "seeds", "problems", "**rank**: wrong, all alike", "wrong, one ahead by 5 points"]
    heads += [
        "right, one ahead",
        "best not among contenders",
        "wrong, all alike: seeds ignored",
        "highest number",
    ]
    return table("Bold: how often an arm is set in bold that is not the best", heads, rows)


def _aggregates(repeats: int, rng: np.random.Generator) -> str:
    rows = []
    for runs in (3, 5, 10, 30):
        found = average(lambda i, n=runs: trials.aggregates(n, rng), repeats)  # type: ignore[misc]
        rows.append([str(runs), *(_percent(found[name]) for name in ("t", "percentile", "rliable"))])
    heads = ["runs", "**aggregate**", "percentile", "percentile, runs drawn per task (rliable)"]
    return table("IQM of runs × 5 benchmarks, each run scored on all of them", heads, rows)


def _fits(repeats: int, rng: np.random.Generator) -> str:
    rows = []
    for seeds in (1, 3, 5):
        found = average(lambda i, n=seeds: trials.fits(n, rng), max(repeats // 5, 1))  # type: ignore[misc]
        shown = [_percent(found[name]) for name in ("A", "B", "C_mid", "a", "b", "ceiling")]
        rows.append([str(seeds), "its points" if seeds == 1 else "seeds", *shown])
    heads = ["seeds", "redrawn", "A", "B", "C_mid", "a", "b", "b − a"]
    return table(f"Fits, a fifth of the repetitions (one standard error {_error(repeats // 5)})", heads, rows)


def _sizes(design: Design) -> list[str]:
    return [str(design.seeds), str(design.problems), str(design.samples)]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _error(repeats: int) -> str:
    return f"{100 * np.sqrt(0.95 * 0.05 / max(repeats, 1)):.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--out", type=Path, default=Path("reports/statistics.md"))
    options = parser.parse_args(arguments)
    write(bench_coverage(options.repeats, options.seed), options.out)


if __name__ == "__main__":
    main()

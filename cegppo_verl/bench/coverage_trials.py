"""One simulated evaluation each, with known truth: what bench/coverage.py repeats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cegppo_verl import stats
from cegppo_verl.stats.crossed import difference_interval, mean_interval
from cegppo_verl.stats.macro import Arm, macro_replicates
from cegppo_verl.stats.simulate import World

GAP = 0.15  # on the logit: 2.0 points of accuracy
BENCHMARKS = (
    (30, 32),
    (30, 32),
    (30, 32),
    (40, 32),
    (500, 4),
)  # problems, samples: the paper's set-up
BOOT_RESAMPLES = 400
Outcome = dict[str, float]  # name → 1 for covered, 0 for not, or a width


def holds(interval: stats.Interval, truth: float) -> bool:
    """Whether the truth lies inside."""
    return bool(interval.low <= truth <= interval.high)


def single(world: World, design: stats.Design, rng: np.random.Generator, boot: bool) -> Outcome:
    """One evaluation of one arm, every interval for it."""
    arm = world.arm(rng, world.problems(rng, design.problems))
    seeds = world.seeds(rng, design.seeds)
    right = world.right(rng, arm, seeds, design.samples)
    cells, truth = right / design.samples, world.truth()
    found: Outcome = {"mean": holds(mean_interval([cells]), truth)}
    runs = mean_interval([cells], over="problems")
    found["these runs"] = holds(runs, world.truth_of_runs(seeds))
    if design.seeds > 1:
        spread = mean_interval([cells], over="seeds")
        found["these problems"] = holds(spread, world.truth_of_problems(arm))
        found["seed spread"] = holds(spread, truth)
    if design.samples >= 8:
        passed = stats.pass_at_k(np.array(design.samples), right, 8)
        found["pass@8"] = holds(mean_interval([passed]), world.truth(score=lambda p: 1 - (1 - p) ** 8))
    if boot:
        found["bootstrap"] = holds(percentile([(1.0, [counts(right, design.samples)])], rng), truth)
    return found


def paired(world: World, design: stats.Design, rng: np.random.Generator, boot: bool) -> Outcome:
    """One evaluation of two arms on the same problems."""
    problems, truth = world.problems(rng, design.problems), world.truth(GAP) - world.truth()
    a, b, c = (
        world.right(rng, world.arm(rng, problems, s), world.seeds(rng, design.seeds), design.samples)
        for s in (GAP, 0.0, 0.0)
    )
    first, second = a / design.samples, b / design.samples
    found: Outcome = {}
    difference = difference_interval([first], [second]).interval
    found["difference"], found["half-width"] = holds(difference, truth), _half(difference)
    alone = [_half(mean_interval([cells])) for cells in (first, second)]
    found["unpaired half-width"] = float(np.hypot(alone[0], alone[1]))
    if boot:
        arms = [(1.0, [counts(a, design.samples)]), (-1.0, [counts(b, design.samples)])]
        found["bootstrap"] = holds(percentile(arms, rng), truth)
        gaps = (c / design.samples).mean(0) - second.mean(0)
        found["sign flip"] = stats.sign_flip_p(gaps, rng, n_permutations=400) <= 0.05
    return found


def macro(world: World, seeds: int, rng: np.random.Generator, boot: bool) -> Outcome:
    """One evaluation of two arms on five benchmarks; the true macro mean is that of one benchmark."""
    effects = [world.seeds(rng, seeds) for _ in range(2)]
    arms: list[list[np.ndarray]] = [[], []]
    for count, samples in BENCHMARKS:
        problems = world.problems(rng, count)
        for arm, own, shift in zip(arms, effects, (GAP, 0.0), strict=True):
            arm.append(world.right(rng, world.arm(rng, problems, shift), own, samples))
    cells = [[c / k for c, (_, k) in zip(arm, BENCHMARKS, strict=True)] for arm in arms]
    truth, gap = world.truth(), world.truth(GAP) - world.truth()
    found: Outcome = {"mean": holds(mean_interval(cells[1]), truth)}
    found["difference"] = holds(difference_interval(cells[0], cells[1]).interval, gap)
    if boot:
        drawn = [[counts(c, k) for c, (_, k) in zip(arm, BENCHMARKS, strict=True)] for arm in arms]
        found["bootstrap"] = holds(percentile([(1.0, drawn[1])], rng), truth)
        found["bootstrap difference"] = holds(percentile([(1.0, drawn[0]), (-1.0, drawn[1])], rng), gap)
    return found


def bold(world: World, design: stats.Design, shifts: Iterable[float], rng: np.random.Generator) -> Outcome:
    """One table of arms: was anything set in bold that is not the best, by three rules; was the best?"""
    problems = world.problems(rng, design.problems)
    shifts = list(shifts)
    cells = [
        world.right(rng, world.arm(rng, problems, s), world.seeds(rng, design.seeds), design.samples)
        / design.samples
        for s in shifts
    ]
    best = int(np.argmax(shifts)) if shifts.count(max(shifts)) == 1 else -1
    ranking = stats.rank([[c] for c in cells])
    careless = stats.rank([[c] for c in cells], over="problems")
    return {
        "rank": ranking.best is not None and ranking.best != best,
        "right": ranking.best is not None and ranking.best == best,
        "problems only": careless.best is not None and careless.best != best,
        "highest": int(np.argmax([c.mean() for c in cells])) != best,
        "lost": len(ranking.contenders) > 0 and best >= 0 and best not in ranking.contenders,
    }


def aggregates(runs: int, rng: np.random.Generator) -> Outcome:
    """IQM of runs × five benchmarks; a run's luck (2 points) is shared by all, cells add 2 points."""
    drawn = task_scores(runs, rng)
    found: Outcome = {}
    ways: dict[str, dict[str, Any]] = {
        "t": {"unit": "shared run", "method": "t"},
        "percentile": {"unit": "shared run", "method": "percentile"},
        "rliable": {"unit": "run", "method": "percentile"},
    }
    for name, how in ways.items():
        found[name] = holds(stats.aggregate(drawn, stats.iqm, rng, n_resamples=BOOT_RESAMPLES, **how), 0.5)
    return found


def task_scores(runs: int, rng: np.random.Generator) -> np.ndarray:
    """(N, 5), symmetric about 0.5, so that the true IQM is 0.5 for any N."""
    luck = 0.02 * rng.standard_normal((runs, 1))
    return np.array([0.3, 0.4, 0.5, 0.6, 0.7]) + luck + 0.02 * rng.standard_normal((runs, 5))


def fits(seeds: int, rng: np.random.Generator) -> Outcome:
    """Sigmoid A = .6, B = 1.5, C_mid = 300 and R = −.2·exp(H) + .7; seeds differ in A and b by 2 points."""
    compute, entropy = np.arange(1, 41) * 25.0, np.linspace(1.0, 0.1, 40)
    luck, noise = 0.02 * rng.standard_normal((seeds, 1)), _autocorrelated(rng, (seeds, 40))
    if seeds == 1:
        luck = np.zeros((1, 1))  # the interval is about this run's own curve
    sigmoid = 0.1 + (0.5 + luck) / (1 + (300 / compute) ** 1.5) + noise
    found = stats.fit_sigmoid(compute, sigmoid, rng, start=0.1, n_resamples=150).values
    law = stats.fit_entropy(entropy, 0.7 + luck - 0.2 * np.exp(entropy) + noise, rng, n_resamples=300).values
    truths = {"A": 0.6, "B": 1.5, "C_mid": 300.0}
    held = {name: float(holds(found[name], truth)) for name, truth in truths.items()}
    return held | {name: float(holds(law[name], t)) for name, t in (("a", 0.2), ("b", 0.7), ("ceiling", 0.5))}


def counts(right: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """What the macro bootstrap keeps of verdicts: cell means and the variances of their samples."""
    means = right / samples
    return means, means * (1 - means) / samples


def percentile(arms: list[tuple[float, Arm]], rng: np.random.Generator) -> stats.Interval:
    """The hierarchical percentile bootstrap, seeds → problems → samples."""
    low, high = np.quantile(macro_replicates(arms, rng, "seed", BOOT_RESAMPLES), (0.025, 0.975))
    return stats.Interval(0.0, float(low), float(high), 0.95, 0, 0)


def _autocorrelated(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """AR(1) noise, standard deviation 0.01, correlation 0.3 between neighbours."""
    noise = rng.standard_normal(shape)
    for t in range(1, shape[1]):
        noise[:, t] = 0.3 * noise[:, t - 1] + np.sqrt(1 - 0.3**2) * noise[:, t]
    return 0.01 * noise


def _half(interval: stats.Interval) -> float:
    return (interval.high - interval.low) / 2

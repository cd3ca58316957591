"""The hierarchical bootstrap as products of weights: wᵀ Y v, with w and v how often each seed and problem was
drawn. No table is gathered, which is what makes it fast.

The sample layer is the exact conditional variance of redrawn verdicts, added as a normal: with hundreds of
them in a mean the difference to drawing them is below what the number of replicates leaves open (tested).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK = 500  # replicates at once
Arm = list[tuple[np.ndarray, np.ndarray]]
"""Per benchmark: means (S, P), and the variance of a mean's samples (S, P); no NaN."""


def cells(n: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and their sampling variances from samples n ≥ 1 and correct samples c, both (S, P)."""
    means = c / n
    return means, means * (1 - means) / n


class ProblemDraws:
    """Which of a benchmark's problems come up in each replicate, kept so that bootstraps can share them.

    Intervals of arms that answered the same problems then differ by the answers alone (common random
    numbers); each of them is distributed as with draws of its own.

    Args:
        seed: the only source of randomness; no draw depends on what else was asked for.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._kept: dict[tuple[int, int], np.ndarray] = {}

    def shares(self, problems: int, replicates: int) -> np.ndarray:
        """(replicates, problems): each problem's share of the draws; the same array every time."""
        size = (problems, replicates)
        if size not in self._kept:
            rng = np.random.default_rng([self._seed, *size])
            self._kept[size] = _shares(rng, problems, replicates, True)
            self._kept[size].flags.writeable = False
        return self._kept[size]


def replicates(
    arms: Sequence[tuple[float, Arm]],
    rng: np.random.Generator,
    layers: int,
    count: int,
    draws: ProblemDraws | None = None,
) -> np.ndarray:
    """(count,) of Σ sign · mean over benchmarks, problems and seeds; problems are drawn jointly for all arms.

    Args:
        layers: how many layers are resampled, counted from the innermost: 3 seeds, problems and samples, 2
            without the seeds, 1 samples only.
        draws: of one benchmark's problems, where those are resampled; None draws them from ``rng``.

    Raises:
        ValueError: draws for several benchmarks: two of the same size would be drawn alike.
    """
    if draws is not None and len(arms[0][1]) > 1:
        raise ValueError("shared draws are of the problems of one benchmark")
    # (P, 2S) each: means and variances in one product
    tables = [[np.concatenate([y, v]).T for y, v in arm] for _, arm in arms]
    parts = []
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        seeds = [_shares(rng, arm[0].shape[1] // 2, size, layers >= 3) for arm in tables]
        problems = [
            _shares(rng, len(table), size, layers >= 2)
            if draws is None or layers < 2
            else draws.shares(len(table), count)[start : start + size]
            for table in tables[0]
        ]
        parts.append(_chunk([sign for sign, _ in arms], tables, seeds, problems, rng))
    return np.concatenate(parts)


def _chunk(
    signs: Sequence[float],
    tables: Sequence[Sequence[np.ndarray]],
    seeds: Sequence[np.ndarray],
    problems: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """(size,) replicates; seeds (size, S) per arm, problems (size, P) and tables (P, 2S) per benchmark."""
    size = len(problems[0])
    total, variance = np.zeros(size), np.zeros(size)
    for bench, drawn in enumerate(problems):
        for sign, arm, weight in zip(signs, tables, seeds, strict=True):
            by_seed = drawn @ arm[bench]  # problems first, there are more of them
            count = weight.shape[1]
            total += sign * (by_seed[:, :count] * weight).sum(1)
            variance += (by_seed[:, count:] * weight).sum(1) / (count * arm[bench].shape[0])
    return (total + np.sqrt(variance) * rng.standard_normal(size)) / len(problems)


def _shares(rng: np.random.Generator, count: int, size: int, resample: bool) -> np.ndarray:
    """(size, count) shares of ``count`` draws with replacement; equal where the layer is not resampled."""
    if not resample or count == 1:
        return np.full((size, count), 1 / count)
    flat = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
    return np.bincount(flat.ravel(), minlength=size * count).reshape(size, count) / count

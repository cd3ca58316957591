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


def replicates(
    arms: Sequence[tuple[float, Arm]], rng: np.random.Generator, layers: int, count: int
) -> np.ndarray:
    """(count,) of Σ sign · mean over benchmarks, problems and seeds; problems are drawn jointly for all arms.

    Args:
        layers: how many layers are resampled, counted from the innermost: 3 seeds, problems and samples, 2
            without the seeds, 1 samples only.
    """
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    return np.concatenate([_chunk(arms, rng, layers, size) for size in sizes])


def _chunk(arms: Sequence[tuple[float, Arm]], rng: np.random.Generator, layers: int, size: int) -> np.ndarray:
    seeds = [_shares(rng, len(arm[0][0]), size, layers >= 3) for _, arm in arms]
    total, variance = np.zeros(size), np.zeros(size)
    for bench, (means, _) in enumerate(arms[0][1]):
        problems = _shares(rng, means.shape[1], size, layers >= 2)
        for (sign, arm), drawn in zip(arms, seeds, strict=True):
            y, v = arm[bench]
            by_seed = (
                problems @ np.concatenate([y, v]).T
            )  # (size, 2S): problems first, there are more of them
            total += sign * (by_seed[:, : len(y)] * drawn).sum(1)
            variance += (by_seed[:, len(y) :] * drawn).sum(1) / y.size
    return (total + np.sqrt(variance) * rng.standard_normal(size)) / len(arms[0][1])


def _shares(rng: np.random.Generator, count: int, size: int, resample: bool) -> np.ndarray:
    """(size, count) shares of ``count`` draws with replacement; equal where the layer is not resampled."""
    if not resample or count == 1:
        return np.full((size, count), 1 / count)
    flat = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
    return np.bincount(flat.ravel(), minlength=size * count).reshape(size, count) / count

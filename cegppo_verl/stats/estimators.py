"""Point estimators of accuracy: avg@k, unbiased pass@k, maj@k.

Shapes: S training seeds, P problems, K samples per problem. ``correct`` holds 0, 1 or NaN (no sample there).
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln


def as_verdicts(correct: np.ndarray) -> np.ndarray:
    """``correct`` as float (S, P, K); (P, K) is one seed. ValueError on anything but 0, 1, NaN."""
    verdicts = np.asarray(correct, np.float64)
    verdicts = verdicts[None] if verdicts.ndim == 2 else verdicts
    if verdicts.ndim != 3:
        raise ValueError(
            f"correct must be (problems, samples) or (seeds, problems, samples), got {verdicts.shape}"
        )
    if not np.isin(verdicts[~np.isnan(verdicts)], (0.0, 1.0)).all():
        raise ValueError("correct must hold 0, 1 or NaN only")
    return verdicts


def problem_counts(correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples n and correct samples c per seed and problem, int (S, P); n = 0 where nothing was sampled."""
    verdicts = as_verdicts(correct)
    return (~np.isnan(verdicts)).sum(-1), np.nansum(verdicts, -1).astype(np.int64)


def avg_at_k(correct: np.ndarray) -> float:
    """Mean over problems of the mean over samples, then over seeds; NaN when there are no samples."""
    return float(mean_over_problems(cell_means(*problem_counts(correct))))


def pass_at_k(n: np.ndarray, c: np.ndarray, k: int) -> np.ndarray:
    """Unbiased pass@k = 1 − C(n−c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, Eq. 1).

    Args:
        n, c: samples and correct samples, broadcastable, any shape.
        k: samples drawn without replacement, ≥ 1.

    Returns:
        float array of the same shape; NaN where n < k: too few samples to say.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    n, c = np.broadcast_arrays(np.asarray(n, np.float64), np.asarray(c, np.float64))
    wrong = n - c
    enough, can_fail = n >= k, wrong >= k
    safe_n, safe_wrong = np.where(enough, n, k), np.where(can_fail, wrong, k)
    log_all_wrong = _log_choose(safe_wrong, k) - _log_choose(safe_n, k)
    # expm1 can leave −0.0 where nothing was right; adding 0.0 makes it 0.0.
    return np.where(enough, np.where(can_fail, -np.expm1(log_all_wrong) + 0.0, 1.0), np.nan)


def maj_at_k(
    answers: np.ndarray, correct: np.ndarray, k: int, rng: np.random.Generator, *, draws: int = 400
) -> np.ndarray:
    """maj@k per seed and problem: is the most frequent answer of k samples right (arXiv 2203.11171).

    Averaged over ``draws`` random sets of k of the n samples without replacement; k = n needs no drawing. An
    answer that ties for the most votes gets its share. No answer takes a place among the k but has no vote.

    Args:
        answers: (S, P, K) or (P, K), integer codes, the same for the same answer; below 0: no answer found.
        correct: same shape, 0/1, NaN: no sample there. A code is right if any sample with it is.

    Returns:
        (S, P), NaN where there are fewer than k samples.
    """
    verdicts = as_verdicts(correct)
    answers = np.asarray(answers).reshape(verdicts.shape)
    found = np.full(verdicts.shape[:2], np.nan)
    for cell in np.ndindex(*found.shape):
        there = ~np.isnan(verdicts[cell])
        if there.sum() >= k:
            found[cell] = _majority(answers[cell][there], verdicts[cell][there], k, rng, draws)
    return found


def _majority(
    answers: np.ndarray, correct: np.ndarray, k: int, rng: np.random.Generator, draws: int
) -> float:
    codes, place, counts = np.unique(np.maximum(answers, -1), return_inverse=True, return_counts=True)
    right = np.bincount(place, weights=correct) > 0
    votes = rng.multivariate_hypergeometric(counts, k, size=1 if k == len(answers) else draws)
    votes[:, codes < 0] = 0
    top = (votes == votes.max(1, keepdims=True)) & (votes > 0)
    return float(((top & right).sum(1) / np.maximum(top.sum(1), 1)).mean())


def _log_choose(n: np.ndarray, k: int) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def cell_means(n: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Share of correct samples c / n of each cell, any shape; NaN where n = 0."""
    return np.divide(c, n, out=np.full(np.broadcast(n, c).shape, np.nan), where=n > 0)


def mean_over_problems(per_problem: np.ndarray) -> np.ndarray:
    """(…, S, P) → (…): mean over problems, then over seeds; NaN problems are left out."""
    return nanmean(nanmean(per_problem))


def nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN, NaN (and no warning) where nothing is left."""
    valid = ~np.isnan(values)
    count = valid.sum(-1)
    total = np.where(valid, values, 0.0).sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)

"""What choosing the best of several checkpoints adds to its score.

The largest of T noisy means is too large. How much is found by simulation from the data at hand: an estimate
of every checkpoint's accuracy per problem takes the part of truth, evaluations are drawn from it, the best is
chosen as it was chosen, and its score is compared with its truth.

The observed spread between checkpoints is part real and part noise; taking it as real would hide most of the
bias. So the accuracies are drawn towards their mean over checkpoints until the spread that is left is the
observed one less the noise (a parametric bootstrap of a variance-components model).

Only the noise of sampling answers is simulated. That the problems are few, or that another training seed
would have peaked elsewhere, is not in it: the number is a lower bound of the optimism.
"""

from __future__ import annotations

import numpy as np


def shrunk(n: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Accuracy per checkpoint and problem, (T, P), spread between checkpoints freed of sampling noise.

    Args:
        n, c: (T, P) samples and correct samples; n ≥ 1.
    """
    rate = c / n
    middle = c.sum(0) / n.sum(0)
    spread = rate.mean(1).var(ddof=1) if len(rate) > 1 else 0.0
    noise = (middle * (1 - middle) / n).mean(1).mean() / rate.shape[1]
    kept = np.sqrt(max(0.0, 1 - noise / spread)) if spread > 0 else 0.0
    return middle + kept * (rate - middle)


def selection_bias(n: np.ndarray, c: np.ndarray, rng: np.random.Generator, *, draws: int = 2000) -> float:
    """How much the best checkpoint's avg@k exceeds its accuracy, on average; a share, ≥ 0 up to noise.

    Args:
        n, c: (T, P) samples and correct samples of T checkpoints on the same P problems; n ≥ 1.
        draws: simulated evaluations; the error of the result is about the noise of one mean / √draws.

    Raises:
        ValueError: shapes differ, or a problem without samples.
    """
    n, c = np.asarray(n), np.asarray(c)
    if n.ndim != 2 or n.shape != c.shape or not n.size or (n < 1).any():
        raise ValueError(f"n and c must be (checkpoints, problems) with n ≥ 1, got {n.shape} and {c.shape}")
    if len(n) == 1:
        return 0.0
    truth = shrunk(n, c).clip(0, 1)
    excess = [_excess(n, truth, rng) for _ in range(draws)]
    return float(np.mean(excess))


def _excess(n: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> float:
    seen = (rng.binomial(n, truth) / n).mean(1)
    best = int(seen.argmax())
    return float(seen[best] - truth[best].mean())

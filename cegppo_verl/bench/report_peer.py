"""The other side of ``cegppo bench report``, run by an interpreter that has arch; imports nothing of ours.

arch draws the seeds of both arms; problems (jointly for both arms) and samples are drawn in the statistic, as
arch has no nested resampling. All of it is vectorised numpy.
"""

from __future__ import annotations

import json
import sys
import time

import arch  # type: ignore[import-not-found]
import numpy as np
from arch.bootstrap import IndependentSamplesBootstrap  # type: ignore[import-not-found]

data, replicates = np.load(sys.argv[1]), int(sys.argv[2])
count = len(data.files) // 2
a, b = ([data[f"{arm}{i}"] for i in range(count)] for arm in "ab")
rng = np.random.default_rng(0)


def mean(tables: list[np.ndarray], seeds: np.ndarray, problems: list[np.ndarray]) -> float:
    """Macro mean of one arm, its samples drawn anew."""
    parts = []
    for table, drawn in zip(tables, problems, strict=True):
        cells = table[seeds][:, drawn]
        index = rng.integers(cells.shape[2], size=cells.shape)
        parts.append(np.take_along_axis(cells, index, axis=2).mean())
    return float(np.mean(parts))


def difference(seeds_a: np.ndarray, seeds_b: np.ndarray) -> float:
    """One replicate."""
    problems = [rng.integers(table.shape[1], size=table.shape[1]) for table in a]
    return mean(a, seeds_a, problems) - mean(b, seeds_b, problems)


boot = IndependentSamplesBootstrap(np.arange(5), np.arange(5), seed=1)
start = time.perf_counter()
low, high = boot.conf_int(difference, reps=replicates, method="percentile").ravel()
seconds = time.perf_counter() - start
found = {"arch": arch.__version__, "seconds per replicate": seconds / replicates}
print(json.dumps(found | {"interval": [float(low), float(high)]}))

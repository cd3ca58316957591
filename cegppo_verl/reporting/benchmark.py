"""The table of one validation pass."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from cegppo_verl.records.samples import Samples
from cegppo_verl.reporting.numbers import rng_for
from cegppo_verl.stats.bootstrap import bootstrap_accuracy


def table(samples: Samples, k: int) -> Table:
    """avg@k with its 95 % interval (problems, then samples, resampled) and the outcomes, per benchmark."""
    shown = Table("benchmark", "problems", f"avg@{k} [95 %]", "outcomes")
    for name, rows in samples.frame.groupby("benchmark", observed=True):
        verdicts = rows.pivot(index="problem", columns="sample", values="correct").to_numpy(np.float64)
        interval = bootstrap_accuracy(verdicts, rng_for(str(name), k))
        counts = rows["outcome"].value_counts()
        outcomes = ", ".join(f"{word} {n}" for word, n in counts.items() if n)
        text = f"{100 * interval.point:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
        shown.add_row(str(name), str(len(verdicts)), text, outcomes)
    return shown

"""avg@k, unbiased pass@k, maj@k, truncation and tokens per evaluation, from tables of samples of any size.

An evaluation is a (cell, seed, step, benchmark). Samples without a verdict are left out of the accuracies and
counted in ``ungraded``; what was not recorded is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cegppo_verl.records.schema import KEY
from cegppo_verl.records.table import Source
from cegppo_verl.records.votes import COUNTED, votes
from cegppo_verl.stats.estimators import cell_means, pass_at_k

EVALUATION = ("cell", "seed", "step", "benchmark")
_SUMS = [f"{name}_{how}" for name in COUNTED for how in ("sum", "count")]


def problems(source: Source) -> pd.DataFrame:
    """One row per (cell, seed, step, benchmark, problem), sorted by them.

    Columns besides these: ``n`` graded and ``c`` correct samples, ``rows`` samples, ``majority`` (share of
    the most frequent answers of all n samples that are right: ties share; no answer has no vote, and nothing
    but no answer is 0; NaN without a graded sample), and sums and counts of tokens and truncations.

    Raises:
        UserError: as ``records.votes.votes``.
    """
    answers = votes(source).to_pandas()
    key = list(KEY)
    found = answers.groupby(key, sort=True, dropna=False)[["rows", *_SUMS]].sum().reset_index()
    found = found.rename(columns={"correct_count": "n", "correct_sum": "c"})
    found = found.merge(_majority(answers), on=key, how="left")
    found["majority"] = found["majority"].fillna(0.0).where(found["n"] > 0)
    return found


def _majority(answers: pd.DataFrame) -> pd.DataFrame:
    cast = answers[(answers["extracted"].fillna("") != "") & (answers["correct_count"] > 0)]
    key = list(KEY)
    most = cast.groupby(key, sort=False)["correct_count"].transform("max")
    top = cast[cast["correct_count"] == most]
    right = (top["correct_sum"] > 0).astype(np.float64).rename("majority")
    return pd.concat([top[key], right], axis=1).groupby(key, sort=False)["majority"].mean().reset_index()


def scores(source: Source, ks: Sequence[int] = ()) -> pd.DataFrame:
    """One row per evaluation, sorted.

    Args:
        ks: pass@k for these; none gives powers of two and the largest k that some evaluation has.

    Returns:
        cell, seed, step, benchmark, ``problems``, ``samples``, ``ungraded``, ``k`` (fewest graded samples of
        a problem), ``avg`` (mean over problems of the mean over samples), ``pass@<k>`` (NaN unless every
        problem has k graded samples), ``maj`` (of all samples of a problem), ``truncated`` (share of the
        samples of which it is known), ``tokens`` (mean per response, of those known).
    """
    return summarise(problems(source), ks)


def summarise(table: pd.DataFrame, ks: Sequence[int] = ()) -> pd.DataFrame:
    """:func:`scores` of a frame that :func:`problems` gave."""
    table = table.assign(avg=cell_means(table["n"].to_numpy(), table["c"].to_numpy()))
    groups = table.groupby(list(EVALUATION), sort=True, dropna=False)
    found = groups.agg(problems=("n", "size"), samples=("rows", "sum"), graded=("n", "sum"), k=("n", "min"))
    found["ungraded"] = found["samples"] - found.pop("graded")
    found["avg"] = groups["avg"].mean()
    for k in ks or _powers(int(found["k"].max()) if len(found) else 0):
        estimates = pd.Series(pass_at_k(table["n"].to_numpy(), table["c"].to_numpy(), k), table.index)
        column = table.assign(value=estimates).groupby(list(EVALUATION), sort=True, dropna=False)["value"]
        found[f"pass@{k}"] = column.mean().where(found["k"] >= k)
    found["maj"] = groups["majority"].mean()
    for name in ("truncated", "tokens"):
        total, count = groups[f"{name}_sum"].sum(), groups[f"{name}_count"].sum()
        found[name] = cell_means(count.to_numpy(), total.to_numpy())
    return found.reset_index()


def _powers(most: int) -> list[int]:
    return sorted({2**i for i in range(most.bit_length())} | {most}) if most else []

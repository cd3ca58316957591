"""avg@k, unbiased pass@k, maj@k, truncation and tokens per evaluation, from tables of samples of any size.

An evaluation is a (cell, seed, step, benchmark). Samples without a verdict are left out of the accuracies and
counted in ``ungraded``; what was not recorded is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cegppo_verl.records.grouping import codes, largest, starts, totals
from cegppo_verl.records.schema import KEY
from cegppo_verl.records.table import Source
from cegppo_verl.records.votes import SUMS, votes
from cegppo_verl.stats.estimators import cell_means, pass_at_k

EVALUATION = ("cell", "seed", "step", "benchmark")


def problems(source: Source) -> pd.DataFrame:
    """One row per (cell, seed, step, benchmark, problem), sorted by them.

    Columns besides these: ``n`` graded and ``c`` correct samples, ``rows`` samples, ``majority`` (share of
    the most frequent answers of all n samples that are right: ties share; no answer has no vote, and nothing
    but no answer is 0; NaN without a graded sample, and where right samples have no answer on record, as in
    code and instructions), and sums and counts of tokens and truncations.

    Raises:
        UserError: as ``records.votes.votes``.
    """
    answers = votes(source)
    first = starts([codes(answers[name]) for name in KEY])
    found = answers.select(list(KEY)).take(pa.array(first)).to_pandas()
    found["rows"] = totals(codes(answers["rows"]), first)
    for name in SUMS:
        found[{"correct_count": "n", "correct_sum": "c"}.get(name, name)] = totals(
            codes(answers[name]), first
        )
    votes_known = (found["n"] > 0) & (_without_answer(answers, first) == 0)
    found["majority"] = np.where(votes_known, _majority(answers, first), np.nan)
    return found.sort_values(list(KEY), ignore_index=True)


def _without_answer(answers: pa.Table, first: np.ndarray) -> np.ndarray:
    """Right samples of which nobody recorded the answer: their vote cannot be counted."""
    given = _given(answers)
    return totals(np.where(given, 0, codes(answers["correct_sum"])), first)


def _given(answers: pa.Table) -> np.ndarray:
    text = answers["extracted"].combine_chunks().cast(pa.string())
    return pc.not_equal(text, "").fill_null(False).to_numpy(zero_copy_only=False)


def _majority(answers: pa.Table, first: np.ndarray) -> np.ndarray:
    counted = codes(answers["correct_count"])
    cast = _given(answers) & (counted > 0)
    counted = np.where(cast, counted, 0)
    most = np.repeat(largest(counted, first), np.diff(np.append(first, len(counted))))
    top = cast & (counted == most)
    right = top & (codes(answers["correct_sum"]) > 0)
    return totals(right, first) / np.maximum(totals(top, first), 1)


def scores(source: Source, ks: Sequence[int] = ()) -> pd.DataFrame:
    """One row per evaluation, sorted.

    Args:
        ks: pass@k for these; none gives powers of two and the largest k that some evaluation has.

    Returns:
        cell, seed, step, benchmark, ``problems``, ``samples``, ``ungraded``, ``k`` (fewest graded samples of
        a problem), ``avg`` (mean over problems of the mean over samples), ``pass@<k>`` (NaN unless every
        problem has k graded samples), ``maj`` (of all samples of a problem; NaN where a right sample has no
        answer on record), ``truncated`` (share of the samples of which it is known), ``tokens`` (mean per
        response, of those known).
    """
    return summarise(problems(source), ks)


def summarise(table: pd.DataFrame, ks: Sequence[int] = ()) -> pd.DataFrame:
    """:func:`scores` of a frame that :func:`problems` gave."""
    table = table.assign(avg=cell_means(table["n"].to_numpy(), table["c"].to_numpy()))
    groups = table.groupby(list(EVALUATION), sort=True, observed=True)
    found = groups.agg(problems=("n", "size"), samples=("rows", "sum"), graded=("n", "sum"), k=("n", "min"))
    found["ungraded"] = found["samples"] - found.pop("graded")
    found["avg"] = groups["avg"].mean()
    for k in ks or _powers(int(found["k"].max()) if len(found) else 0):
        estimates = pd.Series(pass_at_k(table["n"].to_numpy(), table["c"].to_numpy(), k), table.index)
        column = table.assign(value=estimates).groupby(list(EVALUATION), sort=True, observed=True)["value"]
        found[f"pass@{k}"] = column.mean().where(found["k"] >= k)
    silent = table.assign(silent=table["majority"].isna() & (table["n"] > 0))
    unknown = silent.groupby(list(EVALUATION), sort=True, observed=True)["silent"].any()
    found["maj"] = groups["majority"].mean().where(~unknown)
    for name in ("truncated", "tokens"):
        total, count = groups[f"{name}_sum"].sum(), groups[f"{name}_count"].sum()
        found[name] = cell_means(count.to_numpy(), total.to_numpy())
    return found.reset_index()


def _powers(most: int) -> list[int]:
    return sorted({2**i for i in range(most.bit_length())} | {most}) if most else []

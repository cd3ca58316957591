"""Scores out of tables against the plain definitions, row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cegppo_verl.evaluation.scores import scores
from cegppo_verl.records import table
from cegppo_verl.records.schema import SCHEMA, names
from cegppo_verl.stats.estimators import avg_at_k, maj_at_k, pass_at_k, problem_counts

EMPTY = dict.fromkeys(names())
ROW = EMPTY | {"cell": "aa", "seed": 1, "step": 8, "benchmark": "b", "extracted": "", "length": 1}


def write(path: Path, rows: list[dict]) -> Path:
    table.write(path, [pa.Table.from_pylist([ROW | row for row in rows], schema=SCHEMA)])
    return path


def problem(name: str, answers: str, right: str = "r", **more: object) -> list[dict]:
    """One row per letter of ``answers``; a dot is no answer."""
    return [
        {"problem": name, "sample": i, "correct": int(a in right), "extracted": a.replace(".", ""), **more}
        for i, a in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [("rrx", 1.0), ("rxx", 0.0), ("rrxx", 0.5), ("rxy", 1 / 3), ("r...", 1.0), ("...", 0.0), ("rsx", 2 / 3)],
)
def test_majority_and_its_ties(tmp_path: Path, answers: str, expected: float) -> None:
    found = scores(write(tmp_path / "t.parquet", problem("p", answers, right="rs")))
    assert found["maj"].tolist() == [pytest.approx(expected)]


def test_the_same_numbers_as_the_estimators_on_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(-1, 4, (12, 8))
    rows = [r for p, row in enumerate(codes) for r in problem(f"p{p}", "".join("rxyz."[c] for c in row))]
    rng.shuffle(rows)
    found = scores(write(tmp_path / "t.parquet", rows), ks=(1, 3, 8)).iloc[0]
    correct = (codes == 0).astype(float)
    n, c = problem_counts(correct)
    assert found["avg"] == pytest.approx(avg_at_k(correct))
    for k in (1, 3, 8):
        assert found[f"pass@{k}"] == pytest.approx(pass_at_k(n, c, k).mean())
    assert found["maj"] == pytest.approx(maj_at_k(codes, correct, 8, rng).mean())
    assert found[["problems", "samples", "k", "ungraded"]].tolist() == [12, 96, 8, 0]


def test_problems_weigh_the_same_however_many_samples_they_have(tmp_path: Path) -> None:
    rows = problem("a", "rrrrrrrr") + problem("b", "xx")
    found = scores(write(tmp_path / "t.parquet", rows)).iloc[0]
    assert (found["avg"], found["k"], found["pass@2"]) == (0.5, 2, 0.5)
    found = scores(write(tmp_path / "t.parquet", rows), ks=(4,)).iloc[0]
    assert np.isnan(found["pass@4"])  # of one problem only is no pass@4


def test_what_is_not_known_is_nan_and_not_zero(tmp_path: Path) -> None:
    ungraded = problem("a", "rx", correct=None)
    found = scores(write(tmp_path / "t.parquet", ungraded)).iloc[0]
    assert found["ungraded"] == 2
    assert found[["avg", "maj", "truncated", "tokens"]].isna().all()


@pytest.mark.parametrize(("answers", "expected"), [("r", np.nan), ("x", 0.0)])
def test_without_recorded_answers_there_is_no_majority_and_it_is_not_zero(
    tmp_path: Path, answers: str, expected: float
) -> None:
    """Code and instructions: right samples have no extracted answer, wrong ones have a cause."""
    silent = [row | {"extracted": ""} for row in problem("a", answers * 3)] + problem("b", "xxx")
    found = scores(write(tmp_path / "t.parquet", silent)).iloc[0]
    assert found["avg"] == (0.5 if answers == "r" else 0.0)
    assert found["maj"] == pytest.approx(expected, nan_ok=True)


def test_ungraded_samples_are_left_out(tmp_path: Path) -> None:
    rows = problem("a", "rxx")
    rows[2]["correct"] = None
    found = scores(write(tmp_path / "t.parquet", rows)).iloc[0]
    assert (found["avg"], found["maj"], found["k"], found["ungraded"]) == (0.5, 0.5, 2, 1)


def test_truncation_and_tokens_are_means_over_samples_where_known(tmp_path: Path) -> None:
    rows = problem("a", "rxxx")
    for row, tokens, cut in zip(rows, (10, 20, 60, None), (0, 1, 1, None), strict=True):
        row |= {"tokens": tokens, "truncated": cut}
    found = scores(write(tmp_path / "t.parquet", rows)).iloc[0]
    assert (found["truncated"], found["tokens"]) == (pytest.approx(2 / 3), 30)


def test_evaluations_stay_apart_and_sorted(tmp_path: Path) -> None:
    rows = [
        row | {"cell": cell, "step": step, "benchmark": name}
        for cell, step, name, answers in (("b", 2, "x", "r"), ("a", 10, "x", "x"), ("a", 2, "y", "r"))
        for row in problem("p", answers)
    ]
    found = scores(write(tmp_path / "t.parquet", rows))
    key = found[["cell", "step", "benchmark"]].to_numpy().tolist()
    assert key == [["a", 2, "y"], ["a", 10, "x"], ["b", 2, "x"]]
    assert found["avg"].tolist() == [1, 0, 1]


def test_no_rows_give_no_scores(tmp_path: Path) -> None:
    assert isinstance(scores(write(tmp_path / "t.parquet", [])), pd.DataFrame)
    assert len(scores(tmp_path / "t.parquet")) == 0

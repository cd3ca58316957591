"""Numbers of ``cegppo eval`` and of imported runs in a report: true, marked, apart from training's own."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import FakeRun

from cegppo_verl.records.evaluations import Evaluation
from cegppo_verl.records.importers import IMPORTED
from cegppo_verl.records.schema import FRAME, names
from cegppo_verl.records.status import Status
from cegppo_verl.reporting import RunView
from cegppo_verl.reporting.arms import studies
from cegppo_verl.reporting.finals import final_tables
from cegppo_verl.reporting.page import Aims
from cegppo_verl.reporting.report import build_report

VERDICTS = np.array([[1, 0], [1, 1], [0, 0], [1, 0]])
AIMS = Aims("demo", "a", "b", "c")


def evaluation(cell: str, right: np.ndarray, **changes) -> Evaluation:  # type: ignore[no-untyped-def]
    problems, k = right.shape
    rows = {name: [0] * right.size for name in names()}
    rows |= {
        "cell": [cell] * right.size,
        "benchmark": ["aime24"] * right.size,
        "problem": [f"aime24/{p}" for p in range(problems) for _ in range(k)],
        "sample": list(range(k)) * problems,
        "correct": right.ravel().tolist(),
        "outcome": ["correct" if r else "timeout" for r in right.ravel()],
        "tokens": [100.0] * right.size,
        "truncated": [0.0, 1.0] * (right.size // 2),
        **{name: ["g"] * right.size for name in ("extracted", "grader", "decoding")},
    }
    fields = {
        "folder": Path("results/evaluations/x/step-8-abc"),
        "subject": "grpo, step 8 of 8",
        "kind": "cell",
        "cell": cell,
        "seed": 0,
        "step": 8,
        "scale": "toy-xs",
        "decoding": {"temperature": 0.6, "top_p": 0.95, "max_length": 64, "hash": "abc"},
        "samples": pd.DataFrame(rows)[list(names())].astype(FRAME),
        "k": {"aime24": k},
        "records": {"samples.jsonl": "0" * 64},
    }
    return Evaluation(**{**fields, **changes})


@pytest.fixture
def seeds(tmp_path: Path) -> list[RunView]:
    return [FakeRun(seed=s, verdicts={8: VERDICTS}).view(tmp_path) for s in range(2)]


def rows(views: list[RunView], found: list[Evaluation]) -> list[dict[str, str]]:
    tables = final_tables(studies(views)[0], found)
    return [row for table in tables for row in csv.DictReader(io.StringIO(table.csv().decode()))]


def test_seeds_of_an_arm_are_one_row_of_the_true_number(seeds: list[RunView]) -> None:
    rng = np.random.default_rng(0)
    right = [rng.integers(2, size=(30, 4)) for _ in seeds]
    found = [evaluation(view.cell["id"], r) for view, r in zip(seeds, right, strict=True)]
    (row,) = rows(seeds, found)
    assert float(row["avg"]) == pytest.approx(np.mean(right))
    assert float(row["avg_low"]) < np.mean(right) < float(row["avg_high"])
    assert float(row["pass"]) == pytest.approx(np.mean([r.any(1).mean() for r in right]))
    assert (row["model"], row["seeds"], row["k"], row["step"]) == ("grpo", "2", "4", "8")
    assert (float(row["truncated"]), float(row["tokens"])) == (0.5, 100.0)


def test_other_decodings_steps_graders_and_problems_are_rows_of_their_own(seeds: list[RunView]) -> None:
    one, two = (evaluation(view.cell["id"], VERDICTS) for view in seeds)
    other = one.samples.assign(grader=pd.Categorical(["h"] * len(one.samples)))
    for changed in (
        replace(two, decoding={"hash": "def"}),
        replace(two, step=4),
        replace(two, samples=other),
        evaluation(two.cell, np.vstack([VERDICTS, VERDICTS])),
        replace(two, kind="base"),
    ):
        assert len(rows(seeds, [one, changed])) == 2


def test_foreign_evaluations_are_not_shown(seeds: list[RunView]) -> None:
    assert rows(seeds, [evaluation("another", VERDICTS)]) == []
    assert rows(seeds, [evaluation("m", VERDICTS, kind="base", scale="other")]) == []


def test_what_is_not_known_is_a_dash_and_damage_is_said(seeds: list[RunView]) -> None:
    one = evaluation(seeds[0].cell["id"], VERDICTS, notes=("aime25: 3 of 8 answers are missing",))
    unknown = one.samples.assign(truncated=np.nan, tokens=np.nan).astype(FRAME)
    files = build_report(AIMS, seeds, "cegppo report demo.yaml", evaluations=[replace(one, samples=unknown)])
    text = files["report.md"].decode()
    assert "aime25: 3 of 8 answers are missing" in text
    line = next(line for line in text.split("\n") if "4 × 2" in line)
    assert line.split(" | ")[6:8] == ["–", "–"]
    assert "timeout 50.0 %" in line
    assert b'"subject": "grpo, step 8 of 8"' in files["provenance.json"]


def test_an_imported_run_is_an_arm_of_its_own_and_marked(tmp_path: Path, seeds: list[RunView]) -> None:
    other = FakeRun(seed=7, verdicts={8: np.ones((4, 2))})
    cell = {**other.cell(), "state": "imported"}
    view = RunView.load(other.write(tmp_path), Status(IMPORTED, 8, 8), cell=cell)
    assert view.done
    study = studies([*seeds, view])[0]
    assert [(arm.name, len(arm.finished)) for arm in study.arms] == [("grpo", 2), ("grpo, imported", 1)]

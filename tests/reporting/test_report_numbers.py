"""Runs of known truth in, every number of the report checked."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from synthetic import FakeRun, falling_entropy

from cegppo_verl.errors import UserError
from cegppo_verl.records.status import FAILED, PLANNED, RUNNING, STALLED, Status
from cegppo_verl.reporting import RunView
from cegppo_verl.reporting.arms import studies
from cegppo_verl.reporting.numbers import final_accuracy
from cegppo_verl.reporting.page import Aims
from cegppo_verl.reporting.report import build_report
from cegppo_verl.reporting.summary import summarise
from cegppo_verl.reporting.tables import Table, study_tables

AIMS = Aims("demo", "Does it help?", "It does.", "It does not.")


def block(right: int, half: int, wrong: int) -> np.ndarray:
    """(problems, 2): both samples right, one of them, none."""
    return np.array([[1, 1]] * right + [[1, 0]] * half + [[0, 0]] * wrong)


BASE = block(10, 10, 20)  # 37.5 %
BETTER = np.maximum(BASE, block(30, 0, 10))  # 75 %
SAME = np.roll(BASE, 0, axis=0)


def arm(name: str, final: np.ndarray | None, **fields) -> FakeRun:
    verdicts = {} if final is None else {0: BASE, 4: BASE, 8: final}
    return FakeRun(arm=name, verdicts=verdicts, planned=(40, 2), **fields)


def tables(*views: RunView) -> dict[str, Table]:
    study = studies(views)[0]
    return {table.name: table for table in study_tables(study, final_accuracy(study))}


def row(table: Table, head: str) -> dict[str, str]:
    found = next(row for row in table.rows if row.head == head)
    return dict(zip(table.columns[1:], (entry.text for entry in found.entries), strict=True))


def words(*views: RunView) -> str:
    study = studies(views)[0]
    return "\n".join(summarise(study, final_accuracy(study)))


@pytest.fixture
def three(tmp_path: Path) -> list[RunView]:
    lower = {"neg_below": 0.03, "pos_above": 0.02, "neg_above": 0.004, "pos_below": 0.001}
    runs = [
        arm("grpo", BASE),
        arm("ce", BETTER, entropy=lambda step: falling_entropy(step) - 0.1, outside=lower),
        arm("dapo", SAME, entropy=lambda step: falling_entropy(step) + 0.1),
    ]
    return [run.view(tmp_path) for run in runs]


def test_final_accuracy_table(three: list[RunView]) -> None:
    table = tables(*three)["accuracy-pick"]
    assert row(table, "grpo")["avg@2, % [95 %]"].startswith("37.5 [")
    assert row(table, "grpo")["pass@2, % [95 %]"].startswith("50.0 [")
    assert row(table, "grpo")["Difference, points [95 %]"] == "baseline"
    assert row(table, "ce")["avg@2, % [95 %]"].startswith("75.0 [")
    assert row(table, "ce")["pass@2, % [95 %]"].startswith("75.0 [")
    assert row(table, "ce")["Difference, points [95 %]"].startswith("+37.5 [+")
    assert row(table, "ce")["p (Holm)"] == "< 0.001"
    assert row(table, "dapo")["Difference, points [95 %]"].startswith("0.0 [−")
    assert row(table, "dapo")["p (Holm)"] == "1.000"
    assert {entries["Seeds"] for entries in (row(table, a) for a in ("grpo", "ce", "dapo"))} == {"1 seed"}
    assert "40 problems × 2 samples" in table.caption
    assert "1 seed per arm" in table.caption


def test_bold_only_where_the_interval_excludes_zero(three: list[RunView]) -> None:
    strong = [(r.head, e.text) for r in tables(*three)["accuracy-pick"].rows for e in r.entries if e.strong]
    assert [head for head, _ in strong] == ["ce"]


def test_the_difference_is_paired_by_problem_and_not_by_line(tmp_path: Path) -> None:
    """The same verdicts per problem, dumped in another order: no problem differs (unpaired: ± 20 points)."""
    same = np.array([[1, 1]] * 20 + [[0, 0]] * 20)
    order = np.random.default_rng(0).permutation(40)
    shuffled = FakeRun(arm="ce", verdicts={8: same[order]})
    shuffled.responses = lambda p, s: {"problem_id": f"pick/{order[p]}"}
    views = [FakeRun(arm="grpo", verdicts={8: same}).view(tmp_path), shuffled.view(tmp_path)]
    found = final_accuracy(studies(views)[0])[1].difference
    assert found is not None
    assert (found.interval.point, found.interval.low, found.interval.high) == (
        0,
        0,
        0,
    )  # unpaired: ± 20 points


def test_entropy_table(three: list[RunView]) -> None:
    table = tables(*three)["entropy"]
    assert row(table, "grpo") == {
        "step 1": "1.200",
        "step 2": "1.170",
        "step 4": "1.110",
        "step 6": "1.050",
        "step 8": "0.990",
        "mean of last 3 steps": "1.020",
    }
    assert row(table, "ce")["step 8"] == "0.890"
    assert "nats per token" in table.caption


def test_training_table(three: list[RunView]) -> None:
    table = tables(*three)["training"]
    assert row(table, "ce, seed 0") == {
        "Steps": "8 of 8",
        "s per step": "7.0",
        "below, %": "3.10",
        "above, %": "2.40",
        "clipped by PPO, %": "5.00",
        "weight outside, %": "5.00",
        "|Δp|": "1.0e−4",
    }


def test_words_say_what_the_numbers_say(three: list[RunView]) -> None:
    said = words(*three)
    assert "1 seed per arm: no claim about the methods" in said
    assert "highest in dapo and lowest in ce (dapo 1.120, grpo 1.020, ce 0.920" in said
    assert "Entropy of ce was below grpo's at 8 and above it at 0 of 8 steps." in said
    assert "The intervals of grpo and ce; ce and dapo do not overlap." in said
    assert "dapo against grpo on pick, paired per problem: 0.0 [" in said
    assert "includes zero: not told apart by these data" in said
    assert "ce 5.50 %" in said


def test_an_idle_clip_is_named(tmp_path: Path) -> None:
    idle = dict.fromkeys(("neg_below", "pos_above", "neg_above", "pos_below"), 0.0001)
    assert "hardly active" in words(*(arm(n, BASE, outside=idle).view(tmp_path) for n in ("a", "b")))


@pytest.mark.parametrize(
    ("state", "step", "said"),
    [
        (PLANNED, 0, "not run"),
        (PLANNED, 3, "interrupted, step 3 of 8"),
        (RUNNING, 7, "running, step 7 of 8"),
        (STALLED, 7, "stalled, step 7 of 8"),
        (FAILED, 7, "failed, step 7 of 8"),
    ],
)
def test_what_is_not_there_is_said_and_is_never_zero(
    tmp_path: Path, state: str, step: int, said: str
) -> None:
    absent = arm("ce", None, trained_steps=step)
    shown = tables(arm("grpo", BASE).view(tmp_path), absent.view(tmp_path, state, step))
    assert row(shown["accuracy-pick"], "ce")["avg@2, % [95 %]"] == said
    assert row(shown["accuracy-pick"], "ce")["Difference, points [95 %]"] == "–"
    assert row(shown["entropy"], "ce")["step 8"] == said
    assert row(shown["entropy"], "ce")["mean of last 3 steps"] == said
    records = list(csv.DictReader(io.StringIO(shown["accuracy-pick"].csv().decode())))
    assert (records[1]["avg@2"], records[1]["difference"], records[1]["missing"]) == ("", "", said)


def test_a_planned_run_without_directory(tmp_path: Path) -> None:
    planned = arm("ce", None)
    view = RunView.load(tmp_path / planned.name, Status(PLANNED, 0, 8), cell=planned.cell())
    shown = tables(arm("grpo", BASE).view(tmp_path), view)
    assert row(shown["accuracy-pick"], "ce")["avg@2, % [95 %]"] == "not run"
    assert row(shown["training"], "ce, seed 0")["Steps"] == "not run"
    assert view.notes == ()
    assert not (tmp_path / planned.name).exists()


def test_a_done_run_without_diagnostics_says_not_recorded(tmp_path: Path) -> None:
    run = arm("grpo", BASE)
    run.metrics = lambda step: {"actor/entropy": 1.0, "training/global_step": step}  # type: ignore[method-assign]
    shown = row(tables(run.view(tmp_path))["training"], "grpo, seed 0")
    assert (
        shown["below, %"]
        == shown["weight outside, %"]
        == shown["|Δp|"]
        == shown["s per step"]
        == "not recorded"
    )


def test_an_incomplete_final_evaluation_is_no_number(tmp_path: Path) -> None:
    shown = tables(arm("grpo", BASE).view(tmp_path), arm("ce", BASE[:38]).view(tmp_path))
    assert "38 of 40 problems" in row(shown["accuracy-pick"], "ce")["avg@2, % [95 %]"]


def test_an_unfinished_baseline_leaves_the_others_their_numbers(tmp_path: Path) -> None:
    shown = tables(
        arm("grpo", None, trained_steps=2).view(tmp_path, RUNNING, 2), arm("ce", BASE).view(tmp_path)
    )
    assert row(shown["accuracy-pick"], "ce")["avg@2, % [95 %]"].startswith("37.5 [")
    assert row(shown["accuracy-pick"], "ce")["Difference, points [95 %]"] == "baseline running, step 2 of 8"


def test_arms_of_different_length_are_not_compared(tmp_path: Path) -> None:
    short = arm("ce", BASE, total_steps=4)
    short.verdicts = {4: BASE}
    views = [arm("grpo", BASE).view(tmp_path), short.view(tmp_path)]
    assert (
        row(tables(*views)["accuracy-pick"], "ce")["Difference, points [95 %]"]
        == "not compared: 4 against 8 steps"
    )
    assert "different numbers of steps" in words(*views)


def test_three_seeds(tmp_path: Path) -> None:
    views = [
        arm("grpo", BASE, seed=seed, entropy=lambda step, seed=seed: 1.0 + seed / 10).view(tmp_path)
        for seed in range(3)
    ]
    shown = tables(*views)
    assert row(shown["accuracy-pick"], "grpo")["Seeds"] == "3 seeds"
    assert row(shown["entropy"], "grpo")["step 8"].startswith("1.100 [1.0")
    assert "too narrow" in shown["accuracy-pick"].caption
    assert "no claim" not in words(*views)


def test_all_arms_see_the_same_draws_of_problems(tmp_path: Path) -> None:
    verdicts = {8: np.random.default_rng(0).integers(0, 2, (151, 3))}
    views = [
        FakeRun(arm=name, verdicts=verdicts, planned=(151, 3)).view(tmp_path) for name in ("a", "b", "c")
    ]
    found = final_accuracy(studies(views)[0])
    assert len({(row.pass_k.low, row.pass_k.high) for row in found if row.pass_k}) == 1
    assert len({row.accuracy.low for row in found if row.accuracy}) > 1  # samples are drawn apart


def test_two_of_three_seeds(tmp_path: Path) -> None:
    views = [arm("grpo", BASE, seed=seed).view(tmp_path) for seed in range(2)]
    views.append(arm("grpo", None, seed=2, trained_steps=3).view(tmp_path, RUNNING, 3))
    shown = tables(*views)
    assert row(shown["accuracy-pick"], "grpo")["Seeds"] == "2 of 3 seeds"
    assert row(shown["accuracy-pick"], "grpo")["avg@2, % [95 %]"].startswith("37.5")
    assert row(shown["entropy"], "grpo")["step 8"].endswith("(2 of 3 seeds)")


def test_scales_are_kept_apart(tmp_path: Path) -> None:
    views = [arm("grpo", BASE, scale=scale).view(tmp_path) for scale in ("toy-xs", "toy-s")]
    assert [study.scale for study in studies(views)] == ["toy-xs", "toy-s"]
    files = build_report(AIMS, views, "make")
    assert {"figures/accuracy-entropy-toy-s.svg", "tables/entropy-toy-xs.csv"} <= set(files)


def test_timeouts_are_told_apart_from_wrong_answers(tmp_path: Path) -> None:
    run = arm("grpo", BASE, responses=lambda p, s: {"outcome": "timeout"} if p == 39 else {})
    assert row(tables(run.view(tmp_path))["accuracy-pick"], "grpo")["Other outcomes"] == "timeout 2.5 %"


def test_a_grid_without_runs_is_refused() -> None:
    with pytest.raises(UserError, match="no runs"):
        build_report(AIMS, [], "make")

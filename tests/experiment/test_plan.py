"""The plan's rows, and the remarks about settings that are legal but probably not meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Arm, Grid, load_grid
from cegppo_verl.experiment.lint import Finding, lint
from cegppo_verl.experiment.plan import arms_table, findings_table, plan_rows, plan_table

DEMO = Path(__file__).parents[2] / "ablations" / "demo.yaml"


def grid(**changes: Any) -> Grid:
    return load_grid(DEMO).model_copy(update=changes)


def remarks(grid: Grid) -> list[Finding]:
    return lint(grid, expand(grid))


def arm(name: str, algorithm: str, **params: object) -> Arm:
    return Arm(name=name, algorithm=algorithm, params=params)


def text(table: Any) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_rows_and_table() -> None:
    cells = expand(grid())
    rows = plan_rows(cells, {cells[1].id: "done"})
    assert [row.status for row in rows] == ["planned", "done", "planned"]
    assert rows[2].params == "β1=0.5, β2=1, ε_low=0.2, ε_high=0.2"
    assert (rows[0].batch, rows[0].evaluations) == ("32 × 8", 5)
    shown = text(plan_table(cells, {cells[1].id: "done"}))
    for cell in cells:
        assert f"{cell.arm} " in shown
        assert cell.id in shown
    assert shown.count("planned") == 2


@pytest.mark.parametrize("scale", ["toy-s", "deepseek-r1-distill-qwen-1.5b"])
def test_the_plan_fits_80_columns(scale: str) -> None:
    cells = expand(load_grid(DEMO, scale=scale))
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(arms_table(cells), plan_table(cells))
    assert "…" not in capture.get()
    assert scale in capture.get()


def test_last_step_off_the_grid_is_evaluated_too() -> None:
    settings = {"total_steps": 25, "eval": {"at_start": False}}
    assert plan_rows(expand(grid(settings=settings)))[0].evaluations == 5


def test_status_text_is_no_markup() -> None:
    cells = expand(grid())
    assert "[red]" in text(plan_table(cells, {cells[0].id: "[red]failed"}))


INERT = {"mini_batch_size": 32, "ppo_epochs": 1, "micro_batch_size": 64}
CASES = {
    "one update per rollout batch": (
        {"settings": INERT},
        "settings.mini_batch_size",
        "no clip, ε or β can act",
    ),
    "ε that is a bound": (
        {"arms": [arm("a", "dapo", epsilon_high=1.28)]},
        "a",
        "epsilon_high = 1.28 looks like a bound",
    ),
    "ε_low that is a bound": (
        {"arms": [arm("a", "dapo", epsilon_low=0.8)]},
        "a",
        "epsilon_low = 0.8 looks like",
    ),
    "β above 1": ({"arms": [arm("a", "cegppo", beta1=1.5, beta2=1)]}, "a", "beta1 > 1"),
    "dapo that is grpo": (
        {"arms": [arm("a", "grpo"), arm("b", "dapo", epsilon_high=0.2)]},
        "b",
        "'b' is the same function as 'a'",
    ),
    "cegppo that is grpo": (
        {"arms": [arm("a", "grpo"), arm("b", "cegppo", beta1=0, beta2=0, dual_clip=3)]},
        "b",
        "'b' is the same function as 'a'",
    ),
    "top_p in training": ({"settings": {"top_p": 0.9}}, "settings.top_p", "ratios are biased"),
}


@pytest.mark.parametrize(("changes", "key", "words"), CASES.values(), ids=list(CASES))
def test_warnings(changes: dict[str, Any], key: str, words: str) -> None:
    found = [finding for finding in remarks(grid(**changes)) if finding.level == "warning"]
    assert [finding.key for finding in found] == [key]
    assert words in found[0].message


def test_the_demo_has_remarks_but_no_warnings() -> None:
    found = remarks(grid())
    assert {finding.level for finding in found} == {"info"}
    assert [finding.key for finding in found] == ["arms", "seeds"]  # dual clips differ; one seed


def test_repeated_data_and_deviations_are_said() -> None:
    assert any("3.0 times" in finding.message for finding in remarks(grid(settings={"train_prompts": 256})))
    paper = load_grid(DEMO, scale="deepseek-r1-distill-qwen-1.5b")
    assert any("positive_loss_coeff" in finding.message for finding in remarks(paper))


def test_a_remark_is_made_once_for_all_seeds() -> None:
    found = remarks(grid(seeds=[1, 2, 3], settings=INERT))
    assert len([finding for finding in found if finding.key == "settings.mini_batch_size"]) == 1


def test_findings_table() -> None:
    shown = text(findings_table(remarks(grid(settings=INERT))))
    assert shown.index("warning") < shown.index("info")
    assert text(findings_table([])).strip() == ""

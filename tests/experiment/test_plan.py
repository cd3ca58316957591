"""What a plan shows of arms and cells, on a terminal of 80 columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import Arm, Grid, load_grid
from cegppo_verl.experiment.lint import Finding
from cegppo_verl.experiment.plan import (
    arms_table,
    findings_table,
    plan_rows,
    plan_table,
    scale_line,
    summary_table,
)

DEMO = Path(__file__).parents[2] / "ablations" / "demo.yaml"
DONE = "done: 24 of 24 steps, evaluated at 24"


def grid(**changes: Any) -> Grid:
    return load_grid(DEMO).model_copy(update=changes)


def text(*tables: Any, width: int = 200) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(*tables)
    return capture.get()


def test_rows_and_table() -> None:
    cells = expand(grid())
    rows = plan_rows(cells, {cells[1].id: DONE})
    assert [row.status for row in rows] == ["planned", DONE, "planned"]
    assert rows[2].params == "β1=0.5, β2=1, ε_low=0.2, ε_high=0.2"
    assert (rows[0].batch, rows[0].evaluations) == ("32 × 8", 5)
    shown = text(plan_table(cells, {cells[1].id: DONE}))
    for cell in cells:
        assert f"{cell.arm} " in shown
        assert cell.id in shown
    assert (shown.count("planned"), shown.count(DONE)) == (2, 1)


def test_what_cells_share_is_said_once_and_what_differs_in_columns() -> None:
    same = expand(grid())
    assert scale_line(same) == (
        "scale toy-s: 3 cells, each 24 steps, 32 × 8 rollouts, 8 updates a step, 5 evaluations"
    )
    assert "upd." not in text(plan_table(same))
    assert scale_line(same[:1]).startswith("scale toy-s: 1 cell, 24 steps")
    arms = [
        *grid().arms[:2],
        Arm(name="c", algorithm="grpo", params={"epsilon": 0.3}, settings={"ppo_epochs": 1}),
    ]
    mixed = expand(grid(arms=arms))
    assert "updates" not in scale_line(mixed)
    paper = expand(load_grid(DEMO, scale="deepseek-r1-distill-qwen-1.5b"))
    assert scale_line(paper).startswith("scale deepseek-r1-distill-qwen-1.5b: 3 cells, each 8 GPUs, 1000")
    assert "upd." in text(summary_table(mixed, {}, {}))
    header, *rows = text(plan_table(mixed)).splitlines()
    assert "upd." in header
    assert [row.split()[3] for row in rows if row.strip()] == ["8", "8", "4"]


@pytest.mark.parametrize("scale", ["toy-s", "deepseek-r1-distill-qwen-1.5b"])
def test_the_plan_fits_80_columns(scale: str) -> None:
    cells = expand(load_grid(DEMO, scale=scale))
    left = {cell.id: "17 h 03 min" for cell in cells}
    shown = text(arms_table(cells), plan_table(cells, {cells[0].id: DONE}, left), width=80)
    assert "…" not in shown
    assert shown.count("17 h 03 min") == 3


def test_last_step_off_the_grid_is_evaluated_too() -> None:
    settings = {"total_steps": 25, "eval": {"at_start": False}}
    assert plan_rows(expand(grid(settings=settings)))[0].evaluations == 5


def test_status_text_is_no_markup() -> None:
    cells = expand(grid())
    assert "[red]" in text(plan_table(cells, {cells[0].id: "[red]failed"}))


def test_many_cells_are_summed_up_by_arm() -> None:
    cells = expand(grid(seeds=list(range(1, 31))))
    states = {cells[0].id: "done", cells[3].id: "done", cells[6].id: "failed"}
    header, *rows = text(summary_table(cells, states, {"grpo": "5 min 00 s"})).splitlines()
    assert header.split() == ["arm", "cells", "done", "failed", "planned", "left"]
    assert rows[0].split() == ["grpo", "30", "2", "1", "27", "5", "min", "00", "s"]
    assert rows[2].split() == ["cegppo", "30", "30"]


def test_long_tables_say_what_they_leave_out() -> None:
    cells = expand(grid())
    assert "2 more arms (--all)" in text(arms_table(cells, most=1))
    assert "1 more arms" in text(summary_table(cells, {}, {}, most=2))
    findings = [Finding("info", "a", f"remark {n}") for n in range(5)]
    assert "3 more remarks" in text(findings_table(findings, most=2))
    assert "more" not in text(arms_table(cells, most=3), findings_table(findings))


def test_findings_table() -> None:
    shown = text(findings_table([Finding("warning", "a", "[b] is odd", "c"), Finding("info", "d", "e")]))
    assert shown.split() == ["warning", "a:", "[b]", "is", "odd", "(c)", "info", "d:", "e"]
    assert text(findings_table([])).strip() == ""

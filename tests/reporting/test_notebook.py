"""The notebook runs; the API's numbers are the report's; exports hold every step and are read back."""

from __future__ import annotations

import ast
import csv
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from synthetic import FakeRun

from cegppo_verl.errors import UserError
from cegppo_verl.launch.export import steps
from cegppo_verl.notebook import GridView, load_grid

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "grid.ipynb"


@pytest.fixture(scope="module")
def demo() -> GridView:
    return load_grid(ROOT / "ablations/demo.yaml", results=ROOT / "results/runs")


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """As Jupyter does: all statements, and the value of the last one if it is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names) if last else None


def test_the_notebook_runs_and_shows_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)  # committed without: they would age
    shown = [run_cell("".join(cell["source"]), names) for cell in cells]
    assert "grpo seed 1: done" in shown[0]._repr_html_()
    assert {"grpo", "dapo-clip-higher", "cegppo"} == set(shown[1].index.get_level_values("arm"))
    assert shown[2].index[-1] == 24
    assert {"accuracy-entropy", "clip-anatomy", "forest", "cost"} <= set(shown[3])
    assert "<svg" in shown[4]._repr_html_()
    assert shown[5].shape == (3, 5)


def test_the_table_is_the_reports(demo: GridView) -> None:
    table = demo.table()
    with (ROOT / "reports/demo/tables/accuracy-pick-val.csv").open() as file:
        for row in csv.DictReader(file):
            own = table.loc["toy-s", "pick-val", row["arm"]]
            for name in ("avg@1", "avg@1_low", "difference", "difference_high", "p_holm"):
                assert own[name] == pytest.approx(float(row[name]) if row[name] else np.nan, nan_ok=True)


def test_metrics_are_what_was_logged(demo: GridView) -> None:
    frame = demo.metrics("actor/entropy")
    for run in demo.runs:
        own = frame[frame["arm"] == run.arm]
        assert own["value"].tolist() == run.metrics.series("actor/entropy")[1].tolist()
    with pytest.raises(UserError, match=r"(?s)no run has logged 'actor/entropi'.*mean 'actor/entropy'"):
        demo.metrics("actor/entropi")
    with pytest.raises(UserError, match="no figure 'forrest'"):
        demo.figure("forrest")


@pytest.fixture
def one(tmp_path: Path) -> GridView:
    run = FakeRun(verdicts={8: np.ones((4, 2))}, extra={"odd": float("nan")}).view(tmp_path)
    return GridView(None, (run,))  # type: ignore[arg-type]


def test_tensorboard_gives_every_step_back(one: GridView, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (place,) = one.to_tensorboard(tmp_path / "board")
    read = EventAccumulator(str(place))
    read.Reload()
    expected = dict(zip(*(c.tolist() for c in one.runs[0].metrics.series("actor/entropy")), strict=True))
    found = {event.step: event.value for event in read.Scalars("actor/entropy")}
    assert found == pytest.approx(expected)
    with pytest.raises(UserError, match="is there already"):
        one.to_tensorboard(tmp_path / "board")


def test_wandb_is_told_every_step(one: GridView, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, dict[str, float]]] = []

    class Run:
        id = "abc"

        def log(self, values: dict[str, float], step: int) -> None:
            told.append((step, values))

        def finish(self) -> None:
            told.append((-1, {}))

    asked: dict[str, Any] = {}
    fake = ModuleType("wandb")
    fake.init = lambda **init: asked.update(init) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert one.to_wandb("p", mode="offline") == ["abc"]
    assert (asked["project"], asked["mode"], asked["config"]["arm"]) == ("p", "offline", "grpo")
    assert [step for step, _ in told] == [*range(1, 9), -1]
    assert told[0][1]["actor/entropy"] == pytest.approx(1.2)


def test_what_is_no_number_is_left_out(one: GridView) -> None:
    assert all("odd" not in values for _, values in steps(one.runs[0]))

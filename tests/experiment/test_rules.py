"""Budget and early stop: what they accept, and that they are no part of a cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment.gridfile import cells, load
from pydantic import ValidationError

from cegppo_verl.experiment.rules import METRICS, EarlyStop

GRPO = "arms:\n- {name: a, algorithm: grpo}\n"
RULES = """budget: {gpu_hours: 12, hours: 3.5}
priority: -4
early_stop:
- {metric: actor/entropy, below: 0.01, for_steps: 5, after_step: 10}
- {metric: actor/grad_norm, not_finite: true}
- {metric: my_loss/spread, above: 3}
"""


def test_they_are_read(tmp_path: Path) -> None:
    grid = load(tmp_path, GRPO + RULES)
    assert grid.budget is not None
    assert (grid.budget.gpu_hours, grid.budget.hours, grid.priority) == (12, 3.5, -4)
    assert [rule.metric for rule in grid.early_stop] == ["actor/entropy", "actor/grad_norm", "my_loss/spread"]
    first = grid.early_stop[0].model_dump(exclude_defaults=True)
    assert first == {"metric": "actor/entropy", "below": 0.01, "for_steps": 5, "after_step": 10}


def test_without_them_there_are_none(tmp_path: Path) -> None:
    grid = load(tmp_path, GRPO)
    assert (grid.budget, grid.early_stop, grid.priority) == (None, [], 0)


def test_they_do_not_change_a_run(tmp_path: Path) -> None:
    assert [cell.id for cell in cells(tmp_path, GRPO + RULES)] == [cell.id for cell in cells(tmp_path, GRPO)]


@pytest.mark.parametrize(
    "metric", [*METRICS, "actor/pg_clipfrac_upper", "my_loss/entropy", "val-core/x/acc/mean@1"]
)
def test_metrics_that_are_no_typing_error(metric: str) -> None:
    assert EarlyStop(metric=metric, below=1.0).metric == metric


@pytest.mark.parametrize(
    "metric", ["actor/entropi", "actor/entrop", "actor/grad-norm", "actr/entropy", "critic/score/maen"]
)
def test_metrics_that_are_one(metric: str) -> None:
    with pytest.raises(ValidationError, match="not logged"):
        EarlyStop(metric=metric, below=1.0)

"""Run directories as earlier runs leave them, written without a trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cegppo_verl.experiment.cell import Cell


def record(
    results: Path,
    cell: Cell,
    steps: int,
    *,
    seconds: float = 2.0,
    testing: float | None = None,
    startup: float | None = None,
    more: dict[str, float] | None = None,
    grid: str | None = None,
) -> Path:
    """A run that logged ``steps`` steps of ``seconds`` each; with ``startup`` its one attempt ended well.

    Args:
        testing: of the evaluations that the cell plans after step 0. more: further metrics of every step.
        grid: folder, when it is not the cell's own grid.
    """
    run = results / (grid or cell.grid) / cell.run_name
    attempt = run / "attempts" / "001"
    attempt.mkdir(parents=True)
    (run / "cell.json").write_text(cell.to_json())
    lines, total = [], startup or 0.0
    for step in range(1, steps + 1):
        data: dict[str, Any] = {"training/global_step": step, "timing_s/step": seconds, **(more or {})}
        total += seconds
        if testing is not None and (
            step % cell.settings.eval.every == 0 or step == cell.settings.total_steps
        ):
            data["timing_s/testing"] = testing
            total += testing
        lines.append(json.dumps({"step": step, "data": data}, separators=(",", ":")))
    (attempt / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    outcome = {"number": 1, "resumed_from": 0, "outcome": "completed", "seconds": total}
    (attempt / "attempt.json").write_text(json.dumps(outcome if startup is not None else {"number": 1}))
    return run


def evaluated(run: Path, cell: Cell, step: int) -> None:
    """A complete validation dump of ``step``."""
    answers = sum((b.problems or 0) * b.samples for b in cell.settings.eval.benchmarks)
    (run / "validation").mkdir(exist_ok=True)
    (run / "validation" / f"{step}.jsonl").write_text("{}\n" * answers)

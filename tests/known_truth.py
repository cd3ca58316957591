"""A whole grid of run directories of known accuracies and entropies, as verl would have left them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from synthetic import validation_row, write_attempt, write_validation

from cegppo_verl.experiment.expand import expand
from cegppo_verl.experiment.grid import load_grid
from cegppo_verl.launch.runner import cell_json, run_dir

ROOT = Path(__file__).parents[1]
PROBLEMS = {"aime24": 30, "aime25": 30, "hmmt25": 30, "amc23": 40}
STEPS, SAMPLES = 20, 4
_BENCHMARKS = ", ".join(f"{{name: {b}, samples: {SAMPLES}, problems: {n}}}" for b, n in PROBLEMS.items())
SHORTER = f"""
settings:
  total_steps: {STEPS}
  eval:
    every: {STEPS}
    benchmarks: [{_BENCHMARKS}]
"""
BASE_LEVEL = 0.3
LEVELS = {"grpo": 0.35, "dapo": 0.4, "cegppo-0.5-1": 0.4, "cegppo-0.75-1": 0.75}  # probability of "correct"


@dataclass
class Truth:
    """What was written.

    Attributes:
        correct: verdicts by (scale, arm, seed, step, benchmark), (problems, samples).
        entropy: by (scale, arm, seed), (steps,).
        folders: run directories by (scale, arm, seed).
    """

    grid: Path
    results: Path
    correct: dict[tuple[str, str, int, int, str], np.ndarray] = field(default_factory=dict)
    entropy: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict)
    folders: dict[tuple[str, str, int], Path] = field(default_factory=dict)

    def accuracy(self, scale: str, arm: str, benchmark: str, step: int = STEPS) -> float:
        """Mean over seeds, problems and samples, in per cent."""
        tables = [
            v for (s, a, _, t, b), v in self.correct.items() if (s, a, t, b) == (scale, arm, step, benchmark)
        ]
        return 100 * float(np.mean(tables))

    def base(self, scale: str, benchmark: str) -> float:
        """Of all evaluations before training, in per cent."""
        tables = [v for (s, _, _, t, b), v in self.correct.items() if (s, t, b) == (scale, 0, benchmark)]
        return 100 * float(np.mean(tables))


def write_grid(root: Path, name: str) -> Truth:
    """The repository's grid ``name``, made short, every cell of it done, under ``root``."""
    grid = root / f"{name}.yaml"
    grid.write_text((ROOT / "ablations" / f"{name}.yaml").read_text() + SHORTER)
    truth = Truth(grid, root / "runs")
    for number, cell in enumerate(expand(load_grid(grid))):
        folder = run_dir(cell, truth.results).path
        _write_run(truth, folder, cell_json(cell), np.random.default_rng(number))
    return truth


def _write_run(truth: Truth, folder: Path, cell: dict, rng: np.random.Generator) -> None:
    scale, arm, seed = key = cell["scale"], cell["arm"], cell["seed"]
    truth.folders[key] = folder
    truth.entropy[key] = 1.0 - 0.02 * np.arange(1, STEPS + 1) + 0.1 * seed + rng.normal(0, 0.01, STEPS)
    lines = [
        (step, {"actor/entropy": value, "training/global_step": step, "timing_s/step": 7.0})
        for step, value in enumerate(truth.entropy[key].tolist(), 1)
    ]
    write_attempt(folder, 1, lines)
    (folder / "cell.json").write_text(json.dumps(cell))
    (folder / "manifest.json").write_text(json.dumps({"versions": {"verl": "0.9.1"}}))
    for step in (0, STEPS):
        level = BASE_LEVEL if step == 0 else LEVELS.get(arm, 0.4)
        rows = []
        for benchmark, problems in PROBLEMS.items():
            verdicts = rng.random((problems, SAMPLES)) < level
            truth.correct[scale, arm, seed, step, benchmark] = verdicts
            rows += [
                validation_row(benchmark, p, bool(verdicts[p, s]), step)
                for p in range(problems)
                for s in range(SAMPLES)
            ]
        write_validation(folder, step, rows)

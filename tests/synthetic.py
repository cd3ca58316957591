"""Run directories of known truth, written the way verl and the runner write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cegppo_verl.records.status import DONE, Status
from cegppo_verl.reporting import RunView

REGIONS = ("neg_below", "pos_above", "neg_above", "pos_below")


def falling_entropy(step: int) -> float:
    """1.2 at step 1, falling by 0.03 a step."""
    return 1.23 - 0.03 * step


@dataclass
class FakeRun:
    """A run whose every number is chosen.

    Attributes:
        verdicts: what each problem's samples are graded, (problems, samples) of 0/1, by evaluation step.
        entropy: value by step.
        outside: share of tokens by region.
    """

    arm: str = "grpo"
    seed: int = 0
    scale: str = "toy-xs"
    algorithm: str = "grpo"
    params: dict[str, Any] = field(default_factory=lambda: {"epsilon": 0.2})
    total_steps: int = 8
    trained_steps: int | None = None
    benchmark: str = "pick"
    verdicts: dict[int, Any] = field(default_factory=dict)
    planned: tuple[int, int] | None = None  # problems, samples
    entropy: Callable[[int], float] = falling_entropy
    outside: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REGIONS, 0.01))
    wiggle: Any = None  # relative change of the shares and of |Δp| by step
    extra: dict[str, float] = field(default_factory=dict)
    responses: Callable[[int, int], dict[str, Any]] = lambda problem, sample: {}

    @property
    def identity(self) -> str:
        """Twelve hex digits, different for different arms, scales and seeds."""
        return f"{abs(hash_text(self.arm + self.scale)) % 16**8:08x}{self.seed:04x}"

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return f"{self.arm}__{self.scale}__seed{self.seed}-{self.identity}"

    def cell(self) -> dict[str, Any]:
        """cell.json."""
        shapes = [np.shape(table) for table in self.verdicts.values()]
        problems, samples = self.planned or (shapes[-1] if shapes else (4, 2))
        benchmark = {"name": self.benchmark, "samples": samples, "problems": problems}
        settings = {"total_steps": self.total_steps, "eval": {"every": 4, "benchmarks": [benchmark]}}
        return {
            "schema": 1,
            "grid": "demo",
            "arm": self.arm,
            "algorithm": self.algorithm,
            "params": self.params,
            "scale": self.scale,
            "seed": self.seed,
            "settings": settings,
            "id": self.identity,
            "slug": self.name.rsplit("-", 1)[0],
        }

    def metrics(self, step: int) -> dict[str, float]:
        """What verl logs at one training step; 1000 tokens."""
        factor = 1.0 if self.wiggle is None else float(np.exp(self.wiggle[step]))
        counts = {f"actor/anatomy/{region}": 1000 * share * factor for region, share in self.outside.items()}
        counts["actor/anatomy/inside"] = 1000 - sum(counts.values())
        weights = {"actor/anatomy/weight_abs": 400.0, "actor/anatomy/weight_abs_outside": 20.0}
        return {
            "actor/entropy": self.entropy(step),
            "actor/anatomy/tokens": 1000.0,
            **counts,
            **weights,
            "training/rollout_probs_diff_mean": 1e-4 * factor,
            "training/global_step": step,
            "timing_s/step": 7.0 + (step == 1),
            **self.extra,
        }

    def write(self, root: Path) -> Path:
        """Write the run directory; returns it."""
        run_dir = root / self.name
        last = self.total_steps if self.trained_steps is None else self.trained_steps
        write_attempt(run_dir, 1, [(step, self.metrics(step)) for step in range(1, last + 1)])
        (run_dir / "cell.json").write_text(json.dumps(self.cell()))
        manifest = {
            "git": {"commit": "c" * 40, "dirty": False},
            "versions": {"verl": "0.9.1"},
            "hardware": {"cpu": 2},
        }
        (run_dir / "manifest.json").write_text(json.dumps(manifest))
        for step, table in self.verdicts.items():
            self._write_validation(run_dir, step, np.asarray(table))
        return run_dir

    def _write_validation(self, run_dir: Path, step: int, table: np.ndarray) -> None:
        rows = [
            validation_row(self.benchmark, problem, bool(table[problem, sample]), step)
            | self.responses(problem, sample)
            for problem in range(table.shape[0])
            for sample in range(table.shape[1])
        ]
        write_validation(run_dir, step, rows)

    def view(self, root: Path, state: str = DONE, step: int | None = None, why: str | None = None) -> RunView:
        """Write it and read it back."""
        run_dir = self.write(root)
        reached = self.total_steps if step is None else step
        return RunView.load(run_dir, Status(state, reached, self.total_steps, why))


def hash_text(text: str) -> int:
    """A hash that is the same in every process."""
    return sum((index + 1) * byte for index, byte in enumerate(text.encode("utf-8", "replace")))


def write_attempt(
    run_dir: Path, number: int, lines: Sequence[tuple[int, dict[str, Any]]], tail: bytes = b""
) -> Path:
    """attempts/NNN/metrics.jsonl, with ``tail`` after the last complete line."""
    path = run_dir / "attempts" / f"{number:03d}" / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in lines)
    path.write_bytes(text.encode() + tail)
    return path


def validation_row(benchmark: str, problem: int, correct: bool, step: int) -> dict[str, Any]:
    """One line of verl's dump, with what compute_score returns."""
    return {
        "input": f"prompt {problem}>",
        "output": f"answer {problem}",
        "gts": str(problem),
        "score": float(correct),
        "step": step,
        "reward": float(correct),
        "acc": correct,
        "outcome": "correct" if correct else "wrong",
        "problem_id": f"{benchmark}/{problem}",
        "extracted": str(problem),
        "grader": "math-verify-0.9.0+1",
        "benchmark": benchmark,
        "uid": f"{problem}",
    }


def write_validation(run_dir: Path, step: int, rows: Sequence[dict[str, Any]]) -> Path:
    """validation/<step>.jsonl."""
    path = run_dir / "validation" / f"{step}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path

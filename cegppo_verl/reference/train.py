"""``python -m cegppo_verl.reference.train``: train one cell and record it as verl would.

There are no checkpoints: a run takes seconds and depends on its cell alone, so an interrupted one starts
again and comes out the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from cegppo_verl.experiment.cell import Cell, read_cell
from cegppo_verl.losses import external
from cegppo_verl.records import atomic, progress
from cegppo_verl.reference import data
from cegppo_verl.reference.evaluation import dump, evaluate
from cegppo_verl.reference.trainer import Metrics, Trainer, log_line
from cegppo_verl.toy.model import Parameters


@dataclass(frozen=True)
class Files:
    """Where a run reads and writes."""

    cell: Path
    loss: str
    model: Path
    train: Path
    validation: tuple[Path, ...]
    metrics: Path
    samples: Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the cell in ``--cell``."""
    files = _files(arguments)
    torch.set_num_threads(1)  # the same sums in the same order on any number of cores
    train(read_cell(files.cell), files)


def _files(arguments: Sequence[str] | None) -> Files:
    parser = argparse.ArgumentParser(prog="python -m cegppo_verl.reference.train", description=__doc__)
    parser.add_argument("--cell", type=Path, required=True, help="cell.json")
    parser.add_argument("--loss", required=True, help="a name, a module, or an absolute path")
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--train", type=Path, required=True, help="training problems, verl's parquet format")
    parser.add_argument("--validation", type=Path, required=True, action="append", help="benchmark; repeat")
    parser.add_argument("--samples", type=Path, required=True, help="folder of the validation dumps")
    found = parser.parse_args(arguments)
    metrics = Path(os.environ["VERL_FILE_LOGGER_PATH"])  # where verl would write them
    return Files(**{**vars(found), "validation": tuple(found.validation), "metrics": metrics})


def train(cell: Cell, files: Files) -> None:
    """Every step of a cell, with its evaluations."""
    settings, weights = cell.settings, load_weights(files.model)
    problems = data.read_problems(files.train)
    tests = [problem for file in files.validation for problem in data.read_problems(file)]
    trainer = Trainer(weights, settings, external.find(files.loss), dict(cell.params), cell.seed)
    planned = set(progress.planned_evaluations(cell.model_dump(mode="json")))
    order = data.batches(len(problems), settings.train_batch_size, cell.seed)
    for step in range(settings.total_steps + 1):
        metrics = trainer.step(step, [problems[i] for i in next(order)]) if step else {}
        if step in planned:
            rows, scores = evaluate(weights, tests, settings, cell.seed, step)
            atomic.write_text(files.samples / f"{step}.jsonl", dump(rows))
            metrics |= scores
        if metrics:
            _log(files.metrics, step, metrics)


def load_weights(model: Path) -> Parameters:
    """The weights of a toy model, in fp32, to be trained."""
    return {k: v.float().requires_grad_() for k, v in load_file(model / "model.safetensors").items()}


def _log(file: Path, step: int, metrics: Metrics) -> None:
    with file.open("a", encoding="utf-8") as log:  # one write per line: a kill leaves whole lines
        log.write(log_line(step, metrics))
    shown = " ".join(
        f"{name.split('/')[-1]} {value:.4g}" for name, value in metrics.items() if _is_shown(name)
    )
    print(f"step {step}: {shown}", file=sys.stderr, flush=True)


def _is_shown(name: str) -> bool:
    return name.startswith("val-core") or name in ("actor/entropy", "critic/score/mean", "timing_s/step")


if __name__ == "__main__":
    main()

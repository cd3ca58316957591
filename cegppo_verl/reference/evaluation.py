"""A validation pass, as samples in the form in which verl dumps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cegppo_verl.evaluation.graders import grader_id
from cegppo_verl.experiment.settings import Settings
from cegppo_verl.reference import data
from cegppo_verl.reference.data import Problem
from cegppo_verl.reference.rollout import Decoding, graded, respond
from cegppo_verl.toy.model import Parameters

Row = dict[str, Any]


def evaluate(
    weights: Parameters, problems: Sequence[Problem], settings: Settings, seed: int, step: int
) -> tuple[list[Row], dict[str, float]]:
    """k responses to every problem of every benchmark: the samples, and avg@k as verl logs it."""
    rows: list[Row] = []
    metrics: dict[str, float] = {}
    for benchmark in settings.eval.benchmarks:
        own = [problem for problem in problems if problem.benchmark == benchmark.name]
        found = _samples(
            weights, own, settings, data.source(f"evaluation {benchmark.name}", seed, step), step
        )
        mean = sum(row["acc"] for row in found) / len(found)
        metrics[f"val-core/{benchmark.name}/acc/mean@{benchmark.samples}"] = mean
        rows += found
    return rows, metrics


def _samples(
    weights: Parameters, problems: Sequence[Problem], settings: Settings, source: Any, step: int
) -> list[Row]:
    how = Decoding(settings.eval.samples, settings.eval.temperature, settings.max_response_length)
    responses = respond(weights, data.encode(problems), how, source)
    verdicts, texts, tokens = graded(problems, responses), responses.texts(), responses.lengths.tolist()
    asked = [problem for problem in problems for _ in range(how.n)]
    return [
        {
            "input": problem.prompt,
            "output": text,
            "gts": problem.truth,
            "score": float(verdict.correct),
            "step": step,
            "acc": float(verdict.correct),
            "outcome": verdict.outcome,
            "problem_id": problem.identity,
            "extracted": verdict.extracted,
            "grader": grader_id(problem.extract),
            "benchmark": problem.benchmark,
            "response_tokens": length,
        }
        for problem, text, verdict, length in zip(asked, texts, verdicts, tokens, strict=True)
    ]


def dump(rows: Sequence[Row]) -> str:
    """The text of ``validation/<step>.jsonl``."""
    return "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)

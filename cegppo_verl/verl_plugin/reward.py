"""verl's reward function (``reward.custom_reward_function.path`` is this file, ``name`` is compute_score).

verl 0.9.1 loads this file by path in every reward worker and calls the function from a thread pool
(verl/experimental/reward_loop/reward_manager/naive.py: run_in_executor), so it may block, and several calls
run at once. Everything in the returned dict reaches the validation dump; process_validation_metrics
(verl/trainer/ppo/metric_utils.py) averages the numbers and passes over the strings.
"""

from __future__ import annotations

from typing import Any

from cegppo_verl.evaluation.grading import grade, grader_id

SHOWN = 200  # characters of the extracted answer that are stored


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Grade one response.

    Args:
        data_source: task or benchmark name.
        solution_str: the decoded response, without special tokens.
        ground_truth: one answer, or a JSON list of strings of which any is right.
        extra_info: the row's own; ``problem_id`` and ``extract`` (boxed, number or whole) are used.

    Returns:
        ``score`` and ``acc`` (1.0 or 0.0), and the strings ``outcome``, ``problem_id``, ``extracted``,
        ``grader`` and ``benchmark``.
    """
    info = extra_info or {}
    verdict = grade(solution_str, str(ground_truth), info.get("extract") or "boxed")
    score = float(verdict.correct)
    return {
        "score": score,
        "acc": score,
        "outcome": verdict.outcome,
        "problem_id": str(info.get("problem_id") or f"{data_source}/{info.get('index', '?')}"),
        # A lone surrogate cannot be written as UTF-8 and would end the run while it dumps its samples.
        "extracted": verdict.extracted[:SHOWN].encode("utf-8", "replace").decode(),
        "grader": grader_id(),
        "benchmark": data_source,
    }

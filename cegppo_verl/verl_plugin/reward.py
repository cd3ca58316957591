"""verl's reward function (``reward.custom_reward_function.path`` is this file, ``name`` is compute_score).

verl 0.9.1 loads this file by path in every reward worker and calls the function from a thread pool
(verl/experimental/reward_loop/reward_manager/naive.py: run_in_executor), so it may block, and several calls
run at once. Everything in the returned dict reaches the validation dump; process_validation_metrics
(verl/trainer/ppo/metric_utils.py) averages the numbers and passes over the strings.

Options come from ``reward.custom_reward_function.reward_kwargs``. Shaping by length needs the number of
tokens, which verl's own managers do not pass on: use ``reward_manager.CountingRewardManager`` with it.
"""

from __future__ import annotations

from typing import Any

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.graders import grade, grader_id
from cegppo_verl.evaluation.rewards import Overlong, correctness, overlong

SHOWN = 200  # characters of the extracted answer that are stored


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    *,
    values: str = "zero-one",
    overlong_buffer: int = 0,
    overlong_factor: float = 1.0,
    max_response_length: int = 0,
    **_: Any,
) -> dict[str, Any]:
    """Grade one response.

    Args:
        data_source: task or benchmark name.
        solution_str: the decoded response, without special tokens.
        ground_truth: one answer, or a JSON list of strings of which any is right; of code and instructions
            as their graders have it.
        extra_info: the row's own; ``problem_id`` and ``extract`` are used; the latter decides which
            grader (``evaluation.graders``): boxed, number or whole for math; code; instructions.
        values: rewards for right and not right: "zero-one" or "plus-minus-one".
        overlong_buffer: tokens before ``max_response_length`` over which the reward falls; 0 for none.
        overlong_factor: how far it falls.
        max_response_length: tokens; the length at which responses are cut.

    Returns:
        ``score`` (what trains), ``acc`` (1.0 or 0.0, whatever the rewards), with a buffer ``overlong`` (its
        share of the score), and the strings ``outcome``, ``problem_id``, ``extracted``, ``grader`` and
        ``benchmark``.

    Raises:
        UserError: unknown ``values``, a buffer that does not fit, or a buffer without a count of tokens.
    """
    info = extra_info or {}
    rule = info.get("extract") or "boxed"
    verdict = grade(solution_str, str(ground_truth), rule)
    lengths = _overlong(info, overlong_buffer, overlong_factor, max_response_length)
    return {
        "score": correctness(verdict.correct, values) + sum(lengths.values()),
        "acc": float(verdict.correct),
        **lengths,
        "outcome": verdict.outcome,
        "problem_id": str(info.get("problem_id") or f"{data_source}/{info.get('index', '?')}"),
        # A lone surrogate cannot be written as UTF-8 and would end the run while it dumps its samples.
        "extracted": verdict.extracted[:SHOWN].encode("utf-8", "replace").decode(),
        "grader": grader_id(rule),
        "benchmark": data_source,
    }


def _overlong(info: dict[str, Any], buffer: int, factor: float, longest: int) -> dict[str, float]:
    if not buffer:
        return {}
    if "response_tokens" not in info:
        hint = "set reward.reward_manager to reward_manager.CountingRewardManager"
        raise UserError("overlong shaping needs the number of tokens", key="overlong_buffer", hint=hint)
    return {"overlong": overlong(int(info["response_tokens"]), Overlong(longest, buffer, factor))}

"""Ends a run whose outcome is plain: entropy collapsed or exploded, or a number is no number any more.

A rule is a property of the grid, not of the cell: it cuts a run short and cannot change a number of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cegppo_verl.records.progress import LoggedStep, is_training_step


class EarlyStop:
    """Watches the logged steps of one attempt.

    Args:
        rules: each with ``metric`` and one of ``below``, ``above`` (numbers) or ``not_finite`` (true), and
            ``for_steps`` (consecutive steps, default 1) and ``after_step`` (earlier ones do not count).
    """

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        self.rules = list(rules)
        self._run = [0] * len(self.rules)

    def see(self, step: LoggedStep) -> str | None:
        """Why the run is to end after this step; None when it goes on."""
        if not is_training_step(step):
            return None
        for index, rule in enumerate(self.rules):
            self._run[index] = self._run[index] + 1 if _holds(rule, step) else 0
            if self._run[index] >= (rule.get("for_steps") or 1):
                return f"early stop at step {step.step}: {describe(rule)} (it was {_shown(rule, step)})"
        return None


def describe(rule: Mapping[str, Any]) -> str:
    """E.g. ``actor/entropy below 0.02 for 3 steps``."""
    if rule.get("not_finite"):
        text = f"{rule['metric']} not finite"
    else:
        word = "below" if rule.get("below") is not None else "above"
        text = f"{rule['metric']} {word} {rule[word]:g}"
    steps = rule.get("for_steps") or 1
    return f"{text} for {steps} steps" if steps > 1 else text


def _holds(rule: Mapping[str, Any], step: LoggedStep) -> bool:
    if rule["metric"] not in step.data or step.step <= (rule.get("after_step") or 0):
        return False
    value = _number(step.data[rule["metric"]])
    if rule.get("not_finite"):
        return not math.isfinite(value)
    below, above = rule.get("below"), rule.get("above")
    return (below is not None and value < below) or (above is not None and value > above)


def _shown(rule: Mapping[str, Any], step: LoggedStep) -> str:
    return f"{_number(step.data[rule['metric']]):g}"


def _number(value: Any) -> float:
    """verl's log holds null for a number that was NaN or infinite; a comparison never holds for either."""
    return float(value) if isinstance(value, int | float) else math.nan

"""What may be laid over each other: entropies of one definition, accuracies of one grader.

verl reduces ``actor/entropy`` over tokens by ``loss_agg_mode``, and some methods bring their own: GSPO's
entropy (mean over sequences of the mean over tokens) is another quantity than GRPO's (mean over all tokens),
under the same name. It is also the entropy of the distribution at the rollouts' temperature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TypeVar

from cegppo_verl.errors import UserError
from cegppo_verl.experiment.algorithms import algorithm
from cegppo_verl.reporting.arms import Study
from cegppo_verl.reporting.runs import RunView

Meaning = TypeVar("Meaning", bound=Hashable)
UNKNOWN = "unknown"


def entropy_definition(run: RunView) -> str:
    """What ``actor/entropy`` of a run means; a manifest may say it under ``definitions: entropy``."""
    stated = run.manifest.get("definitions", {})
    if isinstance(stated, dict) and stated.get("entropy"):
        return str(stated["entropy"])
    settings = run.cell.get("settings") or {}
    mode = _own_reduction(run) or settings.get("loss_agg_mode") or "token-mean"
    return f"{mode}, temperature {settings.get('temperature', 1.0):g}"


def _own_reduction(run: RunView) -> str | None:
    """The reduction that is part of the method; None where the settings say, or the method is not here."""
    try:
        return algorithm(str(run.cell.get("algorithm"))).loss_agg_mode
    except (UserError, ImportError):
        return None


def graders(run: RunView, step: int, benchmark: str) -> frozenset[str]:
    """Names and versions of what graded one evaluation."""
    return run.evaluation(step, benchmark).graders


def accuracy_definition(run: RunView, benchmark: str) -> str:
    """Graders of all evaluations of a benchmark, joined; "" without samples."""
    found = (run.evaluation(step, benchmark).graders for step in run.sampled_steps())
    return " and ".join(sorted(frozenset().union(*found)))


def most_common(meanings: Sequence[Meaning]) -> Meaning | None:
    """The most frequent one, the first of several; None of nothing."""
    counts = Counter(meanings)
    return max(counts, key=lambda m: counts[m]) if counts else None


def require_one(runs: Sequence[RunView], meaning: Callable[[RunView], str], what: str) -> str | None:
    """The one meaning that a number has in all these runs; None without runs.

    Args:
        what: the number's name, for the message.

    Raises:
        UserError: there are several; lists which run has which.
    """
    by: dict[str, list[str]] = {}
    for run in runs:
        by.setdefault(meaning(run), []).append(run.name)
    if len(by) > 1:
        parts = "; ".join(f"{text}: {', '.join(names)}" for text, names in by.items())
        hint = f"show runs with one definition of {what} at a time"
        raise UserError(f"{what} means different things in these runs ({parts})", hint=hint)
    return next(iter(by), None)


def for_entropy(study: Study) -> tuple[Study, dict[str, str]]:
    """The arms whose entropies mean what most arms' mean, and why the others are left out, by arm."""
    return _same(study, lambda run: "" if run.metrics.last_step is None else entropy_definition(run))


def for_accuracy(study: Study, benchmark: str) -> tuple[Study, dict[str, str]]:
    """The arms graded by what most arms were graded by, and why the others are left out, by arm."""
    return _same(study, lambda run: accuracy_definition(run, benchmark))


def _same(study: Study, meaning: Callable[[RunView], str]) -> tuple[Study, dict[str, str]]:
    """Runs that have not logged anything mean nothing and are in nobody's way."""
    by_arm = {arm.name: {m for run in arm.runs if (m := meaning(run))} for arm in study.arms}
    common = most_common([m for found in by_arm.values() for m in sorted(found)])
    apart = {
        name: f"{' and '.join(sorted(found))}, not {common}"
        for name, found in by_arm.items()
        if found - {common}
    }
    return replace(study, arms=tuple(arm for arm in study.arms if arm.name not in apart)), apart

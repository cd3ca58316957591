"""A grid's budget and its rules for ending a run early. Neither changes a number: not part of an identity."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from cegppo_verl.errors import nearest
from cegppo_verl.experiment.settings import Whole
from cegppo_verl.experiment.validation import Strict, reject

# What verl 0.9.1 logs at every training step and a rule may sensibly watch. Others are allowed: a loss logs
# its own. The list is for finding typing errors, which would make a rule that never fires.
METRICS = (
    "actor/entropy",
    "actor/grad_norm",
    "actor/loss",
    "actor/pg_clipfrac",
    "actor/pg_clipfrac_lower",
    "actor/pg_loss",
    "actor/ppo_kl",
    "critic/rewards/mean",
    "critic/score/mean",
    "response_length/mean",
    "rollout_corr/kl",
    "timing_s/step",
    "training/rollout_probs_diff_mean",
)

Amount = Annotated[float, Field(gt=0)]


class Budget(Strict):
    """The most that the whole grid may cost; `cegppo plan` compares its estimate with it."""

    gpu_hours: Amount | None = Field(default=None, description="GPUs × hours, all cells together")
    hours: Amount | None = Field(default=None, description="wall-clock hours from the first start to the end")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.gpu_hours is None and self.hours is None:
            raise reject("gpu_hours", "a budget without a number", "give gpu_hours, hours, or both")
        return self


class EarlyStop(Strict):
    """End a run when a metric stays out of bounds: the run is kept and marked stopped, with this rule.

    Exactly one of ``below``, ``above`` and ``not_finite``.
    """

    metric: str = Field(description="a metric as verl logs it at every step, e.g. actor/entropy")
    below: float | None = Field(default=None, description="the lowest value that is still all right")
    above: float | None = Field(default=None, description="the highest value that is still all right")
    not_finite: bool = Field(default=False, description="true: stop at NaN or infinity")
    for_steps: Whole = Field(default=1, description="consecutive logged steps for which the condition holds")
    after_step: Annotated[int, Field(ge=0)] = Field(
        default=0, description="steps up to this one do not count"
    )

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        given = [key for key in ("below", "above") if getattr(self, key) is not None]
        given += ["not_finite"] if self.not_finite else []
        if not given:
            hint = "give one of below: <number>, above: <number>, not_finite: true"
            raise reject("metric", "a rule without a condition never fires", hint)
        if len(given) > 1:
            raise reject(given[1], f"one rule, one condition, not {' and '.join(given)}", "write two rules")
        return self

    @model_validator(mode="after")
    def _no_typing_error(self) -> Self:
        if "/" not in self.metric.strip("/") or any(letter.isspace() for letter in self.metric):
            near = next((known for known in METRICS if known.endswith(f"/{self.metric}")), METRICS[0])
            hint = f"write group/name as verl logs it, e.g. {near}"
            raise reject("metric", f"'{self.metric}' is not the name of a metric", hint)
        close = nearest(self.metric, METRICS) if self.metric not in METRICS else None
        if close and _differs_by_little(self.metric, close):
            hint = f"did you mean '{close}'? A metric that is not logged never stops a run"
            raise reject("metric", f"'{self.metric}' is not logged", hint)
        return self


def _differs_by_little(word: str, known: str) -> bool:
    """Whether two names are one typing error apart, e.g. two letters exchanged."""
    return sorted(word.lower()) == sorted(known.lower()) or abs(len(word) - len(known)) <= 1 >= _edits(
        word, known
    )


def _edits(one: str, other: str) -> int:
    """Letters outside the longest common start and end: 1 is a letter changed, missing or too many."""
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return abs(len(one) - len(other))
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    return max(len(one), len(other)) - start - end

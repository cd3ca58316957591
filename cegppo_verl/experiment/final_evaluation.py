"""How a preset is evaluated after training: per benchmark k, length, temperature and top-p, in one place."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from cegppo_verl.experiment.settings import Settings, TopP, Whole
from cegppo_verl.experiment.validation import Name, Strict, reject

Heat = Annotated[float, Field(ge=0, le=10)]


class FinalBenchmark(Strict):
    """One benchmark; what is null is the evaluation's."""

    name: Name = Field(description="a benchmark of the preset's task")
    samples: Whole = Field(description="k, the number of answers sampled per problem")
    problems: Whole | None = Field(default=None, description="how many problems to use; null means all")
    max_length: Whole | None = Field(default=None, description="tokens of the longest answer")
    temperature: Heat | None = None
    top_p: TopP | None = None


class FinalEvaluation(Strict):
    """What `cegppo eval` does unless told otherwise. Engines of our own: each benchmark may differ."""

    benchmarks: Annotated[tuple[FinalBenchmark, ...], Field(strict=False, min_length=1)]
    temperature: Heat = Field(description="0 means greedy")
    top_p: TopP
    max_length: Whole | None = Field(
        default=None, description="tokens of the longest answer; null means training's"
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) < len(names):
            shown = ", ".join(names)
            raise reject("benchmarks", f"a benchmark is named twice: {shown}", "name each one once")
        return self


def as_in_training(settings: Settings) -> FinalEvaluation:
    """The evaluation that a run's own validation passes do."""
    plan = settings.eval
    benchmarks = tuple(
        FinalBenchmark(name=b.name, samples=b.samples, problems=b.problems) for b in plan.benchmarks
    )
    return FinalEvaluation(benchmarks=benchmarks, temperature=plan.temperature, top_p=plan.top_p)

"""Which benchmarks, with how many samples and which decoding: the preset's, under what the call changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.evaluation.decoding import Decoding
from cegppo_verl.evaluation.plan import Problem, Task, problem_of, require_distinct
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.final_evaluation import FinalBenchmark, FinalEvaluation, as_in_training
from cegppo_verl.experiment.recipe import resolve_settings
from cegppo_verl.launch.evaluate.subject import Subject
from cegppo_verl.launch.jobs import DATA_SEED
from cegppo_verl.toy import assets
from cegppo_verl.toy.benchmarks import benchmark_name
from cegppo_verl.toy.store import assets_root

FILES = (".jsonl", ".parquet")
DEFAULT_SAMPLES = 1  # of a benchmark that no preset mentions


@dataclass(frozen=True)
class Changes:
    """What the call says instead of the preset; None leaves it.

    Attributes:
        benchmarks: names or files; none means the preset's.
        samples: k. max_length: tokens of the longest answer. problems: only the first so many.
        max_prompt_length: tokens of the longest prompt.
    """

    benchmarks: Sequence[str] = ()
    samples: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_length: int | None = None
    problems: int | None = None
    max_prompt_length: int | None = None


def tasks(subject: Subject, changes: Changes, engine: str) -> list[Task]:
    """Every benchmark with its problems; makes the tables of generated ones.

    Args:
        engine: name and version for the decoding hash.

    Raises:
        UserError: an unknown benchmark, a missing file or too few problems, greedy decoding with k > 1.
    """
    plan = evaluation_of(subject)
    chosen = [_chosen(word, plan) for word in changes.benchmarks] or [(b, None) for b in plan.benchmarks]
    return [_task(subject, plan, b, file, changes, engine) for b, file in chosen]


def evaluation_of(subject: Subject) -> FinalEvaluation:
    """The preset's; of a task without one that of the run's own validation passes."""
    first = catalog.preset(subject.scale.preset)
    if subject.settings is None:
        return first.evaluation or as_in_training(resolve_settings(first, subject.scale, []))
    task = subject.settings.task
    presets = [first, *(p for p in catalog.presets().values() if p is not first)]
    fitting = (p.evaluation for p in presets if p.settings["task"] == task and p.evaluation is not None)
    return next(fitting, None) or as_in_training(subject.settings)


def _chosen(word: str, plan: FinalEvaluation) -> tuple[FinalBenchmark, Path | None]:
    path = Path(word)
    if path.suffix in FILES:
        name = benchmark_name(path)
        known = next((b for b in plan.benchmarks if b.name == name), None)
        return known or FinalBenchmark(name=name, samples=DEFAULT_SAMPLES), path
    known = next((b for b in plan.benchmarks if b.name == word), None)
    if known is None and _task_of(word) is None:
        names = {name for task in catalog.tasks().values() for name in task.benchmarks}
        raise UserError(f"unknown benchmark '{word}'", key="--benchmark", hint=did_you_mean(word, names))
    return known or FinalBenchmark(name=word, samples=DEFAULT_SAMPLES), None


def _task_of(benchmark: str) -> str | None:
    """The task that has a benchmark."""
    return next((task.name for task in catalog.tasks().values() if benchmark in task.benchmarks), None)


def _task(
    subject: Subject,
    plan: FinalEvaluation,
    benchmark: FinalBenchmark,
    file: Path | None,
    changes: Changes,
    engine: str,
) -> Task:
    decoding = _decoding(subject, plan, benchmark, changes, engine)
    samples = changes.samples or benchmark.samples
    if decoding.temperature == 0 and samples > 1:
        hint = "add --samples 1, or a temperature above 0"
        raise UserError(f"{benchmark.name}: greedy decoding gives the same answer in every sample", hint=hint)
    problems = _problems(benchmark.name, file, changes.problems or benchmark.problems)
    task = Task(benchmark.name, problems, samples, decoding)
    require_distinct(task)
    return task


def _decoding(
    subject: Subject, plan: FinalEvaluation, benchmark: FinalBenchmark, changes: Changes, engine: str
) -> Decoding:
    trained = subject.settings.max_response_length if subject.settings else subject.scale.max_response_length
    return Decoding(
        temperature=float(_first(changes.temperature, benchmark.temperature, plan.temperature)),
        top_p=float(_first(changes.top_p, benchmark.top_p, plan.top_p)),
        max_length=int(_first(changes.max_length, benchmark.max_length, plan.max_length, trained)),
        engine=f"{engine} {subject.scale.precision.rollout}",
    )


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _problems(name: str, file: Path | None, count: int | None) -> tuple[Problem, ...]:
    import pyarrow.parquet as pq

    table = _file(name, file, count) if file else _known(name, count)
    rows = pq.read_table(table).to_pylist()
    return tuple(problem_of(row) for row in rows[:count])


def _file(name: str, file: Path, count: int | None) -> Path:
    return assets.benchmark_from_file(file, name, n=count, report=_quiet)


def _known(name: str, count: int | None) -> Path:
    """The table of a benchmark; of a generated one with all problems there are.

    Drawing fewer may give others under the same ids (``toy/pick.py`` does); the first of all stay the same.
    """
    task = _task_of(name)
    assert task is not None  # names are checked before
    source = catalog.task(task).benchmarks[name]
    if source.file is not None:
        return _file(name, catalog.benchmark_files(task, [name], assets_root())[0], count)
    n = max(count or 0, source.problems)  # more than there are: the generator says so
    return assets.ensure_data(task, name, n=n, seed=DATA_SEED, report=_quiet)


def _quiet(_: str) -> None:
    """Tables are made in a moment."""


def longest(tasks_: Sequence[Task]) -> int:
    """Tokens of the longest answer of all."""
    return max(task.decoding.max_length for task in tasks_)

"""The scales, presets and tasks that come with the package: data files under ``catalog/``, read on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment.architecture import Architecture
from cegppo_verl.experiment.final_evaluation import FinalEvaluation
from cegppo_verl.experiment.settings import Benchmark, Whole
from cegppo_verl.experiment.validation import Strict, reject, validate
from cegppo_verl.experiment.yaml_file import Document, read_yaml
from cegppo_verl.toy.recipes import model_recipe

FOLDER = Path(__file__).parent / "catalog"

Platform = Literal["cpu", "cuda"]
Trainer = Literal["verl", "reference"]


class ModelSource(Strict):
    """Which base model, and how it came to be: both belong to a cell's identity."""

    name: str
    built: str | None = Field(default=None, description="where the weights come from; null: we build them")

    def identity(self) -> dict[str, Any]:
        """The name, and the recipe of a model that we build, else its origin."""
        return {"name": self.name, "built": self.built or model_recipe(self.name)}


class Precision(Strict):
    """Number formats of the trainer and of the rollout engine. They change the numbers."""

    train: Literal["fp32", "bf16"]
    rollout: Literal["float32", "bfloat16"]


class Hardware(Strict):
    """What one cell occupies. On the CPU a "GPU" is a logical Ray resource."""

    nodes: Whole
    gpus_per_node: Whole
    tensor_parallel: Whole = Field(description="GPUs per vLLM engine")
    sequence_parallel: Whole = Field(description="Ulysses: GPUs that share one sequence in training")
    offload: bool = Field(description="parameters and optimiser state in host memory while the rollouts run")
    threads: Whole | None = Field(
        default=None, description="OMP_NUM_THREADS of Ray's workers; null leaves Ray's 1"
    )

    @property
    def gpus(self) -> int:
        """GPUs of the whole cell."""
        return self.nodes * self.gpus_per_node

    @model_validator(mode="after")
    def _splits(self) -> Self:
        for key in ("tensor_parallel", "sequence_parallel"):
            if self.gpus % getattr(self, key):
                message = f"{getattr(self, key)} does not divide the cell's {self.gpus} GPUs"
                raise reject(key, message, "use a divisor")
        return self


class Engine(Strict):
    """Sizes of the rollout engine and of gradient-free passes: they cost memory and time, never numbers."""

    max_num_seqs: Whole
    max_num_batched_tokens: Whole
    log_prob_micro_batch_size: Whole | None = Field(description="sequences per pass; null packs by tokens")
    weight_bucket_mb: Whole = Field(
        default=64, description="shared memory per weight transfer on the CPU, MB"
    )
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None


class Scale(Strict):
    """A model with the lengths, precision and hardware it is trained with."""

    name: str
    summary: str
    platform: Platform
    trainer: Trainer = Field(default="verl", description="verl, or the loop in cegppo_verl.reference")
    preset: str = Field(description="the preset of grids that name none")
    tasks: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    model: ModelSource
    precision: Precision
    max_prompt_length: Whole
    max_response_length: Whole
    hardware: Hardware
    engine: Engine
    architecture: Architecture | None = Field(default=None, description="of published weights")

    @model_validator(mode="after")
    def _heads_split(self) -> Self:
        parts = self.hardware.tensor_parallel, self.hardware.sequence_parallel
        problem = self.architecture.splits_problem(*parts) if self.architecture else None
        if problem:
            raise reject(f"hardware.{problem[0]}", problem[1], "use a number that divides both")
        return self

    def identity(self) -> dict[str, Any]:
        """What of a scale can change the numbers; lengths are in the settings."""
        return {"model": self.model.identity(), "precision": self.precision.model_dump()}


class Preset(Strict):
    """Training settings shared by a grid, every constant with its source in the file."""

    name: str
    summary: str
    settings: dict[str, Any]
    deviations: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="what of the cited recipe is not reproduced"
    )
    # Beside the settings: it is done after training, so it is no part of a cell's identity.
    evaluation: FinalEvaluation | None = Field(
        default=None, description="the final one (`cegppo eval`); null: as in training"
    )


class BenchmarkSource(Strict):
    """A benchmark that a task has."""

    file: str | None = Field(default=None, description="path below the assets folder; null: generated")
    problems: Whole = Field(description="how many problems there are")


class Task(Strict):
    """Where a task's problems come from: generated from a seed, or files that the user provides."""

    name: str
    summary: str
    generated: bool
    train_file: str | None = Field(default=None, description="path below the assets folder; null: generated")
    train_problems: Whole | None = Field(default=None, description="the most that can be generated")
    benchmarks: dict[str, BenchmarkSource]


@cache
def scales() -> Mapping[str, Scale]:
    """Every scale by name."""
    return {name: validate(Scale, doc.data, doc) for name, doc in _documents("scales")}


@cache
def presets() -> Mapping[str, Preset]:
    """Every preset by name."""
    return {name: validate(Preset, doc.data, doc) for name, doc in _documents("presets")}


@cache
def tasks() -> Mapping[str, Task]:
    """Every task by name."""
    return {name: validate(Task, doc.data, doc) for name, doc in _documents("tasks")}


def _documents(kind: str) -> list[tuple[str, Document]]:
    files = {file.stem: read_yaml(file) for file in sorted((FOLDER / kind).glob("*.yaml"))}
    return [(name, _completed(document, files)) for name, document in files.items()]


def _completed(document: Document, files: Mapping[str, Document]) -> Document:
    """With what it does not say taken from the file it is ``like``."""
    own = dict(document.data)
    if (base := own.pop("like", None)) is None:
        return document
    return replace(document, data={**files[base].data, **own})


def scale(name: str) -> Scale:
    """The scale called ``name``; :class:`UserError` with the nearest name when there is none."""
    return _lookup("scale", name, scales())


def preset(name: str) -> Preset:
    """The preset called ``name``; :class:`UserError` with the nearest name when there is none."""
    return _lookup("preset", name, presets())


def task(name: str) -> Task:
    """The task called ``name``; :class:`UserError` with the nearest name when there is none."""
    return _lookup("task", name, tasks())


def _lookup(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise UserError(f"unknown {kind} '{name}'", key=kind, hint=did_you_mean(name, known))
    return known[name]


def problem_count(task_name: str, benchmark: Benchmark) -> int:
    """How many problems of a benchmark are used: those asked for, or all there are."""
    return benchmark.problems or task(task_name).benchmarks[benchmark.name].problems


def benchmark_files(task_name: str, benchmarks: list[str], assets: Path) -> list[Path]:
    """The files of real (not generated) benchmarks, which the user puts below the assets folder.

    Raises:
        UserError: a file is missing.
    """
    sources = task(task_name).benchmarks
    files = {name: sources[name].file for name in benchmarks}
    return [_existing(file, name, assets) for name, file in files.items() if file]


def train_file(task_name: str, assets: Path) -> Path | None:
    """The training file of a task with real data; None for a generated task.

    Raises:
        UserError: the file is missing.
    """
    file = task(task_name).train_file
    return _existing(file, f"training data of task '{task_name}'", assets) if file else None


def _existing(file: str, what: str, assets: Path) -> Path:
    path = assets / file
    if not path.is_file():
        made = f"cegppo data fetch {Path(file).parent.name}"
        hint = f"{made} makes it; or set CEGPPO_ASSETS to the folder that holds {file}"
        raise UserError(f"{what}: missing data file", file=path, hint=hint)
    return path

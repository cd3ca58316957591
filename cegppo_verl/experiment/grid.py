"""A grid file: a question, the arms that answer it, and where and how often to run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment import algorithms, catalog, identity
from cegppo_verl.experiment.cell import Seed
from cegppo_verl.experiment.settings import Benchmark, Settings
from cegppo_verl.experiment.validation import Name, Strict, validate
from cegppo_verl.experiment.yaml_file import Document, KeyPath, key_text, read_yaml

Prose = Annotated[str, Field(min_length=10)]


class Arm(Strict):
    """An algorithm with its hyper-parameters, under a name of the grid's own."""

    name: Name = Field(description="the arm's name in folders, tables and legends")
    algorithm: str = Field(description="one of: " + ", ".join(algorithms.ALGORITHMS))
    params: dict[str, Any] = Field(default={}, description="the algorithm's hyper-parameters")


class Grid(Strict):
    """A question and the runs that answer it."""

    name: Name = Field(description="the folder below results/runs")
    question: Prose = Field(description="what the grid is to find out")
    hypothesis: Prose = Field(description="the answer expected, and why")
    refuted_by: Prose = Field(description="the result that would show the hypothesis wrong")
    scales: list[str] = Field(min_length=1, description="names of scales; `cegppo plan` lists them")
    seeds: list[Seed] = Field(min_length=1, description="training seeds, one run each")
    arms: list[Arm] = Field(min_length=1)
    preset: str | None = Field(default=None, description="training settings; default: each scale's own")
    settings: dict[str, Any] = Field(default={}, description="changes to the preset, same keys")

    @property
    def cell_count(self) -> int:
        """Number of runs."""
        return len(self.scales) * len(self.seeds) * len(self.arms)


def load_grid(path: str | Path, scale: str | None = None, seeds: Sequence[int] | None = None) -> Grid:
    """Read and check a grid file completely: after this only the world, not the file, can be at fault.

    Args:
        scale: replaces the file's scales (``--scale``).
        seeds: replaces the file's seeds (``--seed``).

    Raises:
        UserError: with file, key path, line, nearest valid name and fix.
    """
    document = read_yaml(path)
    grid = validate(Grid, _overridden(document.data, scale, seeds), document)
    _check_names(grid, document, from_option=scale is not None)
    _check_distinct(grid, document)
    for index, arm in enumerate(grid.arms):
        algorithms.algorithm(arm.algorithm, document, ("arms", index, "algorithm"))
        algorithms.resolve_params(arm.algorithm, arm.params, document, ("arms", index, "params"))
    refuse_twins(grid, document)
    for name in grid.scales:
        resolve_settings(grid, catalog.scale(name), document)
    return grid


def _overridden(data: dict[str, Any], scale: str | None, seeds: Sequence[int] | None) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if scale is not None:
        changes["scales"] = [scale]
    if seeds is not None:
        changes["seeds"] = list(seeds)
    return {**data, **changes}


def _check_names(grid: Grid, document: Document, from_option: bool) -> None:
    for index, name in enumerate(grid.scales):
        if name not in catalog.scales():
            path: KeyPath = ("--scale",) if from_option else ("scales", index)
            raise _error(f"unknown scale '{name}'", document, path, did_you_mean(name, catalog.scales()))
    if grid.preset is not None and grid.preset not in catalog.presets():
        hint = did_you_mean(grid.preset, catalog.presets())
        raise _error(f"unknown preset '{grid.preset}'", document, ("preset",), hint)


def _check_distinct(grid: Grid, document: Document) -> None:
    lists: dict[str, list[Any]] = {"scales": grid.scales, "seeds": grid.seeds}
    for key, values in (lists | {"arms": [arm.name for arm in grid.arms]}).items():
        for index, value in enumerate(values):
            if value in values[:index]:
                path: KeyPath = (key, index, "name") if key == "arms" else (key, index)
                hint = "every arm needs a name of its own" if key == "arms" else "remove one of the two"
                message = f"'{value}' is already at {key}[{values.index(value)}]"
                raise _error(message, document, path, hint)


def refuse_twins(grid: Grid, document: Document | None = None) -> None:
    """Raise :class:`UserError` when two arms are the same run under two names."""
    seen: dict[str, str] = {}
    for index, arm in enumerate(grid.arms):
        params = algorithms.resolve_params(arm.algorithm, arm.params)
        key = identity.canonical({"algorithm": arm.algorithm, "params": params})
        if key in seen:
            message = (
                f"'{arm.name}' is the same run as '{seen[key]}': all parameters are equal, defaults included"
            )
            hint = "remove one of the two, or change the parameter that should tell them apart"
            raise _error(message, document, ("arms", index), hint)
        seen[key] = arm.name


def resolve_settings(grid: Grid, scale: catalog.Scale, document: Document | None = None) -> Settings:
    """The training settings of a grid's cells at one scale: preset, the grid's changes, the scale's lengths.

    Raises:
        UserError: the changes do not fit, or preset and scale do not go together.
    """
    preset = catalog.preset(grid.preset or scale.preset)
    lengths = {key: getattr(scale, key) for key in ("max_prompt_length", "max_response_length")}
    merged = _merge({**lengths, **preset.settings}, grid.settings)
    settings = validate(Settings, merged, document, ("settings",))
    _check_task(settings, scale, preset.name, grid, document)
    _check_data(settings, document)
    _check_packing(settings, scale, document)
    return settings


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _check_task(
    settings: Settings, scale: catalog.Scale, preset: str, grid: Grid, document: Document | None
) -> None:
    if settings.task in scale.tasks:
        return
    fitting = [name for name, other in catalog.scales().items() if settings.task in other.tasks]
    key = "settings.task" if "task" in grid.settings else "preset"
    hint = f"leave out '{key}' to get the scale's own ({scale.preset}), or use one of: {', '.join(fitting)}"
    message = f"scale '{scale.name}' cannot do task '{settings.task}' (preset '{preset}')"
    raise _error(message, document, tuple(key.split(".")), hint)


def _check_data(settings: Settings, document: Document | None) -> None:
    task = catalog.task(settings.task)
    most, wanted, path = task.train_problems, settings.train_prompts, ("settings", "train_prompts")
    if task.generated and (wanted is None or wanted > (most or 0)):
        message = (
            f"task '{task.name}' is generated and has up to {most} training problems, not {wanted or 'all'}"
        )
        raise _error(message, document, path, "write how many, e.g. 4096")
    if not task.generated and wanted is not None:
        message = f"task '{task.name}' is real data, all of {task.train_file} is used"
        raise _error(message, document, path, "write null")
    for index, benchmark in enumerate(settings.eval.benchmarks):
        _check_benchmark(task, benchmark, ("settings", "eval", "benchmarks", index), document)


def _check_benchmark(task: catalog.Task, wanted: Benchmark, path: KeyPath, document: Document | None) -> None:
    if wanted.name not in task.benchmarks:
        message = f"task '{task.name}' has no benchmark '{wanted.name}'"
        raise _error(message, document, (*path, "name"), did_you_mean(wanted.name, task.benchmarks))
    there = task.benchmarks[wanted.name].problems
    if wanted.problems is not None and wanted.problems > there:
        message = f"'{wanted.name}' has {there} problems, not {wanted.problems}"
        raise _error(message, document, (*path, "problems"), f"write at most {there}, or null for all")


def _check_packing(settings: Settings, scale: catalog.Scale, document: Document | None) -> None:
    if scale.platform == "cpu" and settings.micro_batch_size is None:
        sequences = settings.mini_batch_size * settings.rollouts_per_prompt
        hint = f"name a number of sequences that divides {sequences}"
        message = "packing by tokens needs a GPU scale"
        raise _error(message, document, ("settings", "micro_batch_size"), hint)
    shards = scale.hardware.gpus // scale.hardware.sequence_parallel
    sequences = settings.mini_batch_size * settings.rollouts_per_prompt
    if sequences % shards:
        message = f"a mini-batch of {sequences} sequences does not split over {shards} data-parallel shards"
        raise _error(message, document, ("settings", "mini_batch_size"), f"make it a multiple of {shards}")


def _error(message: str, document: Document | None, path: KeyPath, hint: str) -> UserError:
    line = document.line(path) if document else None
    file = document.file if document else None
    return UserError(message + (f" (line {line})" if line else ""), file=file, key=key_text(path), hint=hint)

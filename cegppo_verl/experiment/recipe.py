"""The training settings of one arm at one scale: preset, then what the grid, its scale and its arm change.

Later wins: the preset and the scale's lengths, the grid's ``settings``, its ``settings_by_scale``, the arm's
``settings``. ``updates_per_step`` may stand in each of the latter three instead of ``mini_batch_size``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cegppo_verl.errors import UserError, did_you_mean
from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.places import Layer, of_setting, path_of, problem
from cegppo_verl.experiment.settings import Benchmark, Settings
from cegppo_verl.experiment.updates import settled
from cegppo_verl.experiment.validation import validate
from cegppo_verl.experiment.yaml_file import Document


def resolve_settings(
    preset: catalog.Preset, scale: catalog.Scale, layers: Sequence[Layer], document: Document | None = None
) -> Settings:
    """The settings of a preset at a scale under some changes, the last layer strongest.

    Raises:
        UserError: the changes do not fit, or preset and scale do not go together; the key is where the
            setting at fault was written.
    """
    try:
        return _resolved(preset, scale, layers)
    except UserError as error:
        raise _placed(error, layers, document) from error


def _resolved(preset: catalog.Preset, scale: catalog.Scale, layers: Sequence[Layer]) -> Settings:
    lengths = {key: getattr(scale, key) for key in ("max_prompt_length", "max_response_length")}
    merged: dict[str, Any] = {**lengths, **preset.settings}
    for layer in layers:
        merged = _merge(merged, layer.values)
    settings = validate(Settings, settled(merged, layers), None, ("settings",))
    _check_task(settings, scale, preset.name, layers)
    _check_data(settings)
    _check_packing(settings, scale)
    return settings


def _placed(error: UserError, layers: Sequence[Layer], document: Document | None) -> UserError:
    first, *rest = path_of(error.key or "settings")
    if first != "settings":  # the preset is at fault
        return problem(error.message, document, (first, *rest), error.hint or "")
    path = of_setting(tuple(rest), layers)
    return problem(error.message, document, path, error.hint or "")


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _check_task(settings: Settings, scale: catalog.Scale, preset: str, layers: Sequence[Layer]) -> None:
    if settings.task in scale.tasks:
        return
    fitting = [name for name, other in catalog.scales().items() if settings.task in other.tasks]
    key = "settings.task" if any("task" in layer.values for layer in layers) else "preset"
    hint = f"leave out '{key}' to get the scale's own ({scale.preset}), or use one of: {', '.join(fitting)}"
    message = f"scale '{scale.name}' cannot do task '{settings.task}' (preset '{preset}')"
    raise UserError(message, key=key, hint=hint)


def _check_data(settings: Settings) -> None:
    task = catalog.task(settings.task)
    most, wanted, key = task.train_problems, settings.train_prompts, "settings.train_prompts"
    if task.generated and (wanted is None or wanted > (most or 0)):
        message = (
            f"task '{task.name}' is generated and has up to {most} training problems, not {wanted or 'all'}"
        )
        raise UserError(message, key=key, hint="write how many, e.g. 4096")
    if not task.generated and wanted is not None:
        message = f"task '{task.name}' is real data, all of {task.train_file} is used"
        raise UserError(message, key=key, hint="write null")
    for index, benchmark in enumerate(settings.eval.benchmarks):
        _check_benchmark(task, benchmark, f"settings.eval.benchmarks[{index}]")


def _check_benchmark(task: catalog.Task, wanted: Benchmark, key: str) -> None:
    if wanted.name not in task.benchmarks:
        message = f"task '{task.name}' has no benchmark '{wanted.name}'"
        raise UserError(message, key=f"{key}.name", hint=did_you_mean(wanted.name, task.benchmarks))
    there = task.benchmarks[wanted.name].problems
    if wanted.problems is not None and wanted.problems > there:
        message = f"'{wanted.name}' has {there} problems, not {wanted.problems}"
        raise UserError(message, key=f"{key}.problems", hint=f"write at most {there}, or null for all")


def _check_packing(settings: Settings, scale: catalog.Scale) -> None:
    sequences = settings.mini_batch_size * settings.rollouts_per_prompt
    if scale.platform == "cpu" and settings.micro_batch_size is None:
        hint = f"name a number of sequences that divides {sequences}"
        raise UserError("packing by tokens needs a GPU scale", key="settings.micro_batch_size", hint=hint)
    shards = scale.hardware.gpus // scale.hardware.sequence_parallel
    if sequences % shards:
        message = f"a mini-batch of {sequences} sequences does not split over {shards} data-parallel shards"
        hint = f"make it a multiple of {shards}"
        raise UserError(message, key="settings.mini_batch_size", hint=hint)

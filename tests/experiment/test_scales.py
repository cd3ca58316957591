"""The scales of published models: shapes that give the published sizes, and hardware that they fit."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from cegppo_verl.experiment import catalog
from cegppo_verl.experiment.catalog import Scale
from cegppo_verl.experiment.settings import Settings

# Parameters in billions as the model cards have them.
PUBLISHED = {
    "deepseek-r1-distill-qwen-1.5b": 1.78,
    "deepseek-r1-distill-qwen-7b": 7.62,
    "deepseek-r1-distill-qwen-14b": 14.77,
    "deepseek-r1-distill-qwen-32b": 32.76,
    "qwen3-1.7b": 1.72,
    "qwen3-4b": 4.02,
    "qwen3-8b": 8.19,
}
GPU_BYTES = 80e9


def test_every_gpu_scale_has_a_shape() -> None:
    found = {name for name, scale in catalog.scales().items() if scale.platform == "cuda"}
    assert found == set(PUBLISHED) == {name for name, scale in catalog.scales().items() if scale.architecture}


@pytest.mark.parametrize(("name", "billions"), PUBLISHED.items())
def test_the_shape_has_the_published_number_of_parameters(name: str, billions: float) -> None:
    shape = catalog.scale(name).architecture
    assert shape is not None
    assert math.isclose(shape.parameters / 1e9, billions, rel_tol=0.005)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_update_fits_its_gpus_with_room(name: str) -> None:
    scale = catalog.scale(name)
    assert scale.architecture is not None
    tokens = scale.max_prompt_length + scale.max_response_length
    assert scale.architecture.training_bytes(scale.hardware.gpus, tokens) < 0.75 * GPU_BYTES
    weights = 2 * scale.architecture.parameters / scale.hardware.tensor_parallel
    assert weights < 0.5 * GPU_BYTES * (scale.engine.gpu_memory_utilization or 0)
    assert scale.engine.max_num_batched_tokens >= tokens


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_batches_split_over_the_shards(name: str) -> None:
    scale, preset = catalog.scale(name), catalog.preset("paper-math")
    lengths = {key: getattr(scale, key) for key in ("max_prompt_length", "max_response_length")}
    settings = Settings.model_validate({**lengths, **preset.settings})
    shards = scale.hardware.gpus // scale.hardware.sequence_parallel
    assert settings.mini_batch_size * settings.rollouts_per_prompt % shards == 0
    assert settings.rollouts_per_step % scale.hardware.gpus == 0


def changed(**hardware: int) -> Scale:
    data = catalog.scale("deepseek-r1-distill-qwen-7b").model_dump()
    return Scale.model_validate({**data, "hardware": {**data["hardware"], **hardware}})


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"tensor_parallel": 3}, "3 does not divide the cell's 8 GPUs"),
        ({"sequence_parallel": 3}, "3 does not divide the cell's 8 GPUs"),
        ({"tensor_parallel": 8}, "8 does not split 28 attention heads"),
        ({"sequence_parallel": 8}, "8 does not split 28 attention heads"),
    ],
)
def test_hardware_that_cannot_split_the_model_is_refused(hardware: dict[str, int], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        changed(**hardware)


def test_a_shape_is_no_part_of_an_identity() -> None:
    scale = catalog.scale("qwen3-4b")
    assert scale.model_copy(update={"architecture": None}).identity() == scale.identity()

"""The process that merges: a JSON job on standard input, see ``merging.py``. Imports torch and transformers.

verl saves per rank a state dict whose tensors are DTensors (FSDP2, one mesh dimension, or two with
replication) or plain ones (buffers, or a single rank). Names are those of the Hugging Face model.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

SHARD_SIZE = "5GB"


class MergeError(ValueError):
    """The shards do not make the model that the configuration describes."""


def run(job: dict[str, Any]) -> None:
    """Merge, check, write.

    Raises:
        MergeError: the shards do not make the model of the configuration.
    """
    import torch

    dtype, config = getattr(torch, job["dtype"]), Path(job["config"])
    weights = merge(load(job["shards"]), dtype)
    weights = checked(weights, shapes(config))
    write(weights, config, Path(job["target"]))


def load(paths: list[str]) -> list[dict[str, Any]]:
    """The state dicts, memory-mapped; nothing in them is executed."""
    import torch
    import torch.distributed.tensor

    torch.serialization.add_safe_globals([torch.distributed.tensor.DTensor])
    return [torch.load(path, map_location="cpu", weights_only=True, mmap=True) for path in paths]


def merge(ranks: list[dict[str, Any]], dtype: Any) -> dict[str, Any]:
    """Full tensors by name.

    Raises:
        MergeError: the ranks do not have the same names, or a placement is not known.
    """
    names = list(ranks[0])
    if any(set(rank) != set(names) for rank in ranks):
        raise MergeError("the shards have different tensors")
    return {name: full(name, [rank[name] for rank in ranks]).to(dtype) for name in names}


def full(name: str, parts: list[Any]) -> Any:
    """One tensor from its parts in the order of the ranks."""
    import torch
    from torch.distributed.tensor import DTensor

    if not isinstance(parts[0], DTensor):
        if any(not torch.equal(parts[0], part) for part in parts[1:]):
            raise MergeError(f"{name} is not sharded, and differs between ranks")
        return parts[0]
    *replicated, last = parts[0].placements
    if not all(p.is_replicate() for p in replicated) or not (last.is_shard() or last.is_replicate()):
        raise MergeError(f"{name} is placed as {parts[0].placements}, which is not known here")
    mesh = parts[0].device_mesh.mesh
    own = [parts[int(rank)].to_local() for rank in mesh.reshape(-1, mesh.shape[-1])[0]]
    value = own[0] if last.is_replicate() else torch.cat(own, dim=last.dim)
    if value.shape != parts[0].shape:
        raise MergeError(f"{name} has shape {tuple(value.shape)}, {tuple(parts[0].shape)} was saved")
    return value


def shapes(config: Path) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """Shapes that the configuration asks for, and the names that are copies of another tensor."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config))
    model.tie_weights()
    own = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    state = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return state, set(state) - own


def checked(weights: dict[str, Any], wanted: tuple[dict[str, tuple[int, ...]], set[str]]) -> dict[str, Any]:
    """The weights without copies.

    Raises:
        MergeError: a tensor is missing, unknown, of another shape, or not finite.
    """
    expected, copies = wanted
    if missing := sorted(set(expected) - copies - set(weights)):
        raise MergeError(f"the checkpoint lacks {', '.join(missing[:3])} ({len(missing)} in all)")
    if unknown := sorted(set(weights) - set(expected)):
        raise MergeError(f"the model has no {', '.join(unknown[:3])} ({len(unknown)} in all)")
    for name, tensor in weights.items():
        if tuple(tensor.shape) != expected[name]:
            raise MergeError(f"{name} has shape {tuple(tensor.shape)}, the model {expected[name]}")
        if not bool(tensor.isfinite().all()):
            raise MergeError(f"{name} is not finite: the training broke down")
    return {name: tensor.contiguous() for name, tensor in weights.items() if name not in copies}


def write(weights: dict[str, Any], config: Path, target: Path) -> None:
    """safetensors, with configuration and tokenizer beside them."""
    from huggingface_hub import save_torch_state_dict

    for path in config.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            shutil.copy2(path, target / path.name)
    save_torch_state_dict(weights, target, max_shard_size=SHARD_SIZE)
    for path in target.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    run(json.load(sys.stdin))

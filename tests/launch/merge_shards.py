"""Write a tiny model as verl's FSDP2 shards it: ``python merge_shards.py FOLDER``.

On one rank, on four, and on two twice; DTensors of every rank come from a process group that sends nothing,
one rank after the other. Beside the shards: ``huggingface/`` as verl saves it, and ``truth.safetensors`` with
the weights before sharding.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import Qwen2Config, Qwen2ForCausalLM

CONFIG = Qwen2Config(
    vocab_size=11,
    hidden_size=6,
    intermediate_size=10,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    tie_word_embeddings=True,
)


def sharded(state: dict, rank: int, ranks: int, replicas: int) -> dict:
    """This rank's part; lengths that the ranks do not divide are split unevenly, as FSDP does."""
    dist.init_process_group("fake", rank=rank, world_size=ranks, store=FakeStore())
    try:
        shape = (ranks,) if replicas == 1 else (replicas, ranks // replicas)
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("ddp", "fsdp")[-len(shape) :])
        placements = [Replicate()] * (len(shape) - 1) + [Shard(0)]
        return {n: distribute_tensor(t, mesh, placements, src_data_rank=None) for n, t in state.items()}
    finally:
        dist.destroy_process_group()


WAYS = {"one": (1, 1), "four": (4, 1), "replicated": (4, 2)}


def write(folder: Path, ranks: int, replicas: int) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    state = Qwen2ForCausalLM(CONFIG).state_dict()
    for rank in range(ranks):
        path = folder / f"model_world_size_{ranks}_rank_{rank}.pt"
        torch.save(sharded(state, rank, ranks, replicas), path)
    (folder / "huggingface").mkdir()
    CONFIG.architectures = ["Qwen2ForCausalLM"]
    CONFIG.save_pretrained(folder / "huggingface")
    (folder / "huggingface" / "tokenizer_config.json").write_text(json.dumps({"a": 1}))
    save_file({n: t.clone() for n, t in state.items()}, folder / "truth.safetensors")


if __name__ == "__main__":
    for name, way in WAYS.items():
        write(Path(sys.argv[1]) / name, *way)

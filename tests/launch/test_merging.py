"""A checkpoint becomes a Hugging Face model with just the weights that were trained."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.launch.evaluate import merge_main, merging
from cegppo_verl.launch.evaluate.merging import ensure_merged, merged_place, shards

pytest.importorskip("torch")
pytest.importorskip("transformers")
WRITER = Path(__file__).with_name("merge_shards.py")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one actor folder per way of sharding, written once."""
    folder = tmp_path_factory.mktemp("checkpoints")
    subprocess.run([sys.executable, str(WRITER), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge in this process, which has torch imported: a process of its own takes seconds each time."""
    monkeypatch.setattr(merging, "_run", lambda job, log: log.touch() or merge_main.run(job))


def copy(actor: Path, target: Path) -> Path:
    shutil.copytree(actor, target)
    return target


@pytest.mark.parametrize("ways", ["one", "four", "replicated"])
def test_the_merged_weights_are_the_trained_ones_to_the_bit(
    checkpoints, here, tmp_path: Path, ways: str
) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    actor = copy(checkpoints / ways, tmp_path / "actor")
    folder = ensure_merged(actor, "float32")
    state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    truth = load_file(actor / "truth.safetensors")
    assert set(state) == set(truth)
    assert all(torch.equal(state[name], truth[name]) for name in truth)
    assert (folder / "tokenizer_config.json").is_file()


def test_it_is_merged_once_and_again_when_the_shards_change(checkpoints, here, tmp_path, monkeypatch) -> None:
    import torch

    actor = copy(checkpoints / "one", tmp_path / "actor")
    state = torch.load(actor / "model_world_size_1_rank_0.pt", weights_only=True)
    torch.save({name: tensor.to_local() * 2 for name, tensor in state.items()}, tmp_path / "other.pt")
    merges = []
    real = merging._run
    monkeypatch.setattr(merging, "_run", lambda job, log: merges.append(job["dtype"]) or real(job, log))
    folder = ensure_merged(actor, "float32")
    ensure_merged(actor, "float32")
    assert merges == ["float32"]
    (folder / "merged.json").unlink()  # killed before it was whole
    ensure_merged(actor, "float32")
    shutil.copy(actor.parent / "other.pt", actor / "model_world_size_1_rank_0.pt")
    ensure_merged(actor, "float32")
    assert merges == ["float32"] * 3
    assert (folder / "model.safetensors").is_file()


def test_a_missing_or_empty_shard_is_named(checkpoints, tmp_path: Path) -> None:
    actor = copy(checkpoints / "four", tmp_path / "actor")
    (actor / "model_world_size_4_rank_2.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"rank_2\.pt: the checkpoint lacks a shard of 4"):
        ensure_merged(actor, "float32")
    (actor / "model_world_size_4_rank_2.pt").unlink()
    with pytest.raises(UserError, match="lacks a shard"):
        shards(actor)


def test_what_does_not_fit_is_refused_and_leaves_nothing(checkpoints, tmp_path: Path) -> None:
    import torch

    actor = copy(checkpoints / "one", tmp_path / "actor")
    path = actor / "model_world_size_1_rank_0.pt"
    torch.save({"model.norm.weight": torch.full((6,), float("nan"))}, path)
    with pytest.raises(UserError, match=r"the checkpoint lacks lm_head\.weight|lacks model\.embed_tokens"):
        ensure_merged(actor, "float32")
    assert not merged_place(actor, "float32").exists()
    assert not list(actor.glob(".merged*.tmp"))

"""A checkpoint as verl shards it, as a Hugging Face folder that vLLM loads: merged once, kept beside it.

Not by ``verl.model_merger`` (0.9.1): it rounds every weight to bfloat16, so that at an fp32 scale another
model than the trained one would be evaluated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation.fingerprint import fingerprint
from cegppo_verl.launch.causes import cause_of
from cegppo_verl.launch.driver import import_path
from cegppo_verl.records import atomic
from cegppo_verl.records.rundir import read_json

MODULE = "cegppo_verl.launch.evaluate.merge_main"
MARKER = "merged.json"  # written last: a folder with it is whole
VERSION = 1


def shards(actor: Path) -> list[Path]:
    """The model's shards in an ``actor`` folder, in the order of the ranks.

    Raises:
        UserError: there are none, one is missing, or one is empty.
    """
    found = list(actor.glob("model_world_size_*_rank_*.pt"))
    if not found:
        hint = "name a global_step_N folder that verl saved"
        raise UserError("no model shards here", file=actor, hint=hint)
    size = int(found[0].name.split("_")[3])
    expected = [actor / f"model_world_size_{size}_rank_{rank}.pt" for rank in range(size)]
    for path in expected:
        if path not in found or path.stat().st_size == 0:
            raise UserError(f"the checkpoint lacks a shard of {size}", file=path, hint="use another step")
    if len(found) > size:
        raise UserError(
            "shards of two different numbers of GPUs", file=actor, hint="remove those that are old"
        )
    return expected


def merged_place(actor: Path, dtype: str) -> Path:
    """The folder that the merged model has or will have; goes with the checkpoint when verl removes it."""
    return actor / f"merged-{dtype}"


def ensure_merged(actor: Path, dtype: str) -> Path:
    """The Hugging Face folder of a checkpoint; merged in a process of its own when it is not there.

    Args:
        actor: ``…/global_step_N/actor``. dtype: "float32" or "bfloat16", as the rollouts had it.

    Raises:
        UserError: the checkpoint is not whole, or its weights do not fit its ``config.json``.
    """
    files, place = shards(actor), merged_place(actor, dtype)
    wanted = {"version": VERSION, "fingerprint": fingerprint(files), "dtype": dtype}
    try:
        with FileLock(actor / f".merged-{dtype}.lock"):
            if read_json(place / MARKER) != wanted:
                _merge(actor, files, place, wanted)
    except OSError as error:
        hint = "make room or rights there"
        raise UserError(f"cannot merge: {error.strerror or error}", file=actor, hint=hint) from error
    return place


def _merge(actor: Path, files: list[Path], place: Path, wanted: dict) -> None:
    temporary, log = place.with_name(f".{place.name}.tmp"), actor / f"{place.name}.log"
    for folder in (temporary, place):
        shutil.rmtree(folder, ignore_errors=True)
    temporary.mkdir()
    job = {"config": str(actor / "huggingface"), "shards": list(map(str, files)), **wanted}
    try:
        _run({**job, "target": str(temporary)}, log)
        atomic.write_json(temporary / MARKER, wanted)
        temporary.rename(place)
        atomic.sync_folder(actor)
        log.unlink()
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _run(job: dict, log: Path) -> None:
    with log.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-m", MODULE],
            input=json.dumps(job).encode(),
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **import_path(), "HF_HUB_OFFLINE": "1"},
            check=False,
        )
    if done.returncode:
        cause = cause_of(log, done.returncode).text
        raise UserError(f"the checkpoint cannot be merged: {cause}", file=log, hint="use another step")

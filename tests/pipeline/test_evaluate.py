"""``cegppo eval`` with the real engine, on the checkpoint of a real two-step cell."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from cegppo_verl.launch.evaluate import command
from cegppo_verl.launch.evaluate.tasks import Changes
from cegppo_verl.records import table

pytestmark = pytest.mark.pipeline
QUIET = Console(quiet=True)


def call(what: str, results: Path, out: Path) -> command.Call:
    return command.Call(what, results, out, changes=Changes(samples=2, problems=8))


def lines(out: Path) -> list[dict]:
    (path,) = out.glob("*/step-*/samples.jsonl")
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_checkpoint_is_evaluated_in_parts_as_in_one_go(smoke, runs, tmp_path: Path) -> None:
    _, run = smoke
    whole = call(str(run.path), runs.results, tmp_path / "whole")
    parts = dataclasses.replace(whole, out=tmp_path / "parts")
    command.evaluate(command.understand(whole), QUIET)
    for limit in (5, None):
        command.evaluate(command.understand(dataclasses.replace(parts, limit=limit)), QUIET)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")

    rows = lines(tmp_path / "whole")
    assert len(rows) == 16
    assert {row["cell"] for row in rows} == {run.cell()["id"]}
    assert {row["step"] for row in rows} == {2}
    assert all(1 <= row["tokens"] <= 6 and row["truncated"] in (0, 1) for row in rows)
    assert len({row["response"] for row in rows}) > 4  # it samples
    assert len(table.load(tmp_path / "whole")) == 16

"""Final evaluations as reports read them: whole ones only, whatever else lies in the folders."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from cegppo_verl.evaluation import complete, shards
from cegppo_verl.evaluation.answers import Answer, Who, record, to_line
from cegppo_verl.evaluation.decoding import Decoding
from cegppo_verl.evaluation.plan import Problem, Task
from cegppo_verl.records.evaluations import LINES, Evaluation, load_evaluations, read_complete
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.schema import names

DECODING = Decoding(0.6, 0.95, 100, "vllm-0 float32")
WHO = Who("0123456789ab", 3, 24)


def task(problems: int, samples: int, benchmark: str = "b", wording: str = "question") -> Task:
    asked = [
        Problem(f"{benchmark}/{n}", ({"role": "user", "content": f"{wording} {n}"},), "7")
        for n in range(problems)
    ]
    return Task(benchmark, tuple(asked), samples, DECODING)


def evaluate(root: Path, wanted: Task, answers: int | None = None) -> None:
    """As ``cegppo eval``: take back, record at most so many answers, join, state."""
    folder = root / "arm__toy-s__seed3-0123456789ab" / f"step-24-{DECODING.hash}"
    folders = {DECODING.hash: folder}
    RunDir(folder).path.mkdir(parents=True, exist_ok=True)
    subject = {"name": "arm, step 24 of 24", "kind": "cell", "cell": WHO.cell, "seed": 3, "step": 24}
    RunDir(folder).update_manifest(subject=subject, scale="toy-s", decoding=DECODING.as_json())
    complete.take_back([wanted], folders)
    with shards.Shard(folder) as shard:
        for item in list(wanted.items())[:answers]:
            right = (int(item.problem.id[-1]) + item.sample) % 3
            shard.append([record(WHO, Answer(item, "\\boxed{7}" if right else "?", 5, False))])
    shards.compact(folder)
    complete.state([wanted], folders)


def only(root: Path) -> Evaluation:
    (found,) = load_evaluations(root)
    return found


def test_one_call_gives_who_how_and_the_rows(tmp_path: Path) -> None:
    evaluate(tmp_path, task(4, 2))
    found = only(tmp_path)
    assert (found.kind, found.cell, found.seed, found.step, found.scale) == ("cell", WHO.cell, 3, 24, "toy-s")
    assert found.decoding["hash"] == DECODING.hash
    assert (found.k, len(found.samples), found.notes) == ({"b": 2}, 8, ())
    assert list(found.samples.columns) == names()
    assert found.samples["correct"].sum() == 5
    assert set(found.records) == {"manifest.json", "complete.json", LINES}


def test_an_evaluation_cut_short_is_not_shown(tmp_path: Path) -> None:
    evaluate(tmp_path, task(4, 2), answers=7)
    found = only(tmp_path)
    assert (found.k, len(found.samples), found.notes) == ({}, 0, ("no benchmark is complete",))


def test_a_smaller_call_and_one_cut_short_change_nothing(tmp_path: Path) -> None:
    evaluate(tmp_path, task(4, 2))
    before = only(tmp_path).samples
    evaluate(tmp_path, task(2, 1))
    evaluate(tmp_path, task(9, 4), answers=17)
    after = only(tmp_path)
    assert after.k == {"b": 2}
    assert after.samples["problem"].unique().tolist() == [f"b/{n}" for n in range(4)]
    pd.testing.assert_frame_equal(after.samples, before, check_categorical=False)


def test_a_larger_call_takes_its_place(tmp_path: Path) -> None:
    evaluate(tmp_path, task(4, 2))
    evaluate(tmp_path, task(5, 3))
    assert (only(tmp_path).k, len(only(tmp_path).samples)) == ({"b": 3}, 15)


def test_benchmarks_are_whole_or_not_each_for_itself(tmp_path: Path) -> None:
    evaluate(tmp_path, task(2, 2, "a"))
    evaluate(tmp_path, task(2, 2, "b"), answers=1)
    assert only(tmp_path).k == {"a": 2}


def test_answers_to_two_wordings_never_stand_together(tmp_path: Path) -> None:
    evaluate(tmp_path, task(4, 2))
    evaluate(tmp_path, task(4, 2, wording="another question"), answers=3)  # replaces three answers, then dies
    assert only(tmp_path).k == {}
    evaluate(tmp_path, task(4, 2, wording="another question"))
    assert (only(tmp_path).k, len(only(tmp_path).samples)) == ({"b": 2}, 8)


def test_a_clone_has_no_table_and_the_same_rows(tmp_path: Path) -> None:
    evaluate(tmp_path, task(3, 2))
    with_table = only(tmp_path)
    (with_table.folder / "samples.parquet").unlink()
    pd.testing.assert_frame_equal(only(tmp_path).samples, with_table.samples, check_categorical=False)


def test_two_graders_versions_are_not_one_accuracy(tmp_path: Path) -> None:
    evaluate(tmp_path, task(3, 2))
    folder = only(tmp_path).folder
    rows = [json.loads(line) for line in (folder / LINES).read_bytes().splitlines()]
    rows[0]["grader"] = "math-verify-0.8.0+1"
    (folder / LINES).write_bytes(b"".join(map(to_line, rows)))
    (folder / "samples.parquet").unlink()
    found = only(tmp_path)
    assert found.k == {}
    assert "graded by math-verify-0.8.0+1 and math-verify" in found.notes[0]


@pytest.mark.parametrize("lost", [3, "file"])
def test_lost_answers_are_told(tmp_path: Path, lost: int | str) -> None:
    evaluate(tmp_path, task(3, 2))
    folder = only(tmp_path).folder
    (folder / "samples.parquet").unlink()
    lines = (folder / LINES).read_bytes().splitlines(keepends=True)
    (folder / LINES).unlink() if lost == "file" else (folder / LINES).write_bytes(b"".join(lines[lost:]))
    found = only(tmp_path)
    assert found.k == {}
    assert ("not readable" if lost == "file" else "3 answers recorded, 6 stated") in found.notes[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"benchmarks": [1]}', '{"benchmarks": {"b": {"samples": 2}}}']
)
def test_a_damaged_statement_states_nothing(tmp_path: Path, text: str) -> None:
    evaluate(tmp_path, task(3, 2))
    folder = only(tmp_path).folder
    (folder / "complete.json").write_text(text)
    assert read_complete(folder) == {}
    assert only(tmp_path).k == {}


def test_no_folder_is_no_evaluation(tmp_path: Path) -> None:
    assert load_evaluations(tmp_path / "nowhere") == []

"""``cegppo eval`` with an engine that needs no model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cegppo_verl.errors import UserError
from cegppo_verl.evaluation import answers, shards
from cegppo_verl.launch.evaluate import command
from cegppo_verl.launch.evaluate.tasks import Changes
from cegppo_verl.records import table
from cegppo_verl.records.evaluations import load_evaluations
from cegppo_verl.records.rundir import RunDir

HERE = Path(__file__).parent
FAKE = (sys.executable, "-S", str(HERE / "evaluate_fake_engine.py"))
QUIET = Console(quiet=True)
SMALL = Changes(samples=2, problems=6)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A Hugging Face folder as far as an evaluation looks."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return str(folder)


def call(model: str, out: Path, *engine: str, changes: Changes = SMALL, **more: object) -> command.Call:
    told = command.Call(model, out=out, scale="toy-xs", changes=changes, command=(*FAKE, *engine))
    return replace(told, **more)


def run(model: str, out: Path, *engine: str, changes: Changes = SMALL, **more: object) -> command.Evaluation:
    understood = command.understand(call(model, out, *engine, changes=changes, **more))
    command.evaluate(understood, QUIET)
    return understood


def samples_of(out: Path) -> bytes:
    (path,) = out.glob("*/step-0-*/samples.jsonl")
    return path.read_bytes()


def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each engine gets from now on."""
    counts: list[int] = []
    real = command.start_engines
    monkeypatch.setattr(command, "start_engines", lambda s, i: counts.append(len(i)) or real(s, i))
    return counts


def test_killed_twenty_times_it_ends_with_the_same_bytes(model: str, tmp_path: Path) -> None:
    script = [sys.executable, str(HERE / "evaluate_kills.py"), model]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*script, str(whole), "0", "0"], check=True)
    done = subprocess.run([*script, str(cut), "20", "1"], check=True, capture_output=True, text=True)
    assert int(done.stdout) >= 10, "hardly ever killed: the test says nothing"
    assert samples_of(cut) == samples_of(whole)
    assert samples_of(cut).count(b"\n") == 240
    numbers = [
        command.understand(call(model, out, changes=Changes(samples=4, problems=60))) for out in (whole, cut)
    ]
    first, second = ([(r.avg, r.pass_k, r.tokens) for r in n.results()] for n in numbers)
    assert first == second


def test_the_same_call_again_samples_nothing(model: str, tmp_path: Path, monkeypatch) -> None:
    counts = sent(monkeypatch)
    run(model, tmp_path / "out")
    before = samples_of(tmp_path / "out")
    run(model, tmp_path / "out")
    assert counts == [12]
    assert samples_of(tmp_path / "out") == before


def test_more_samples_and_problems_add_to_what_is_there(model: str, tmp_path: Path, monkeypatch) -> None:
    counts = sent(monkeypatch)
    run(model, tmp_path / "out")
    run(model, tmp_path / "out", changes=Changes(samples=3, problems=7))
    run(model, tmp_path / "fresh", changes=Changes(samples=3, problems=7))
    assert counts == [12, 9, 21]
    assert samples_of(tmp_path / "out") == samples_of(tmp_path / "fresh")


@pytest.mark.parametrize("changed", [{"temperature": 0.5}, {"top_p": 0.9}, {"max_length": 5}])
def test_another_decoding_is_another_measurement(model: str, tmp_path: Path, changed: dict) -> None:
    first = run(model, tmp_path / "out")
    second = run(model, tmp_path / "out", changes=replace(SMALL, **changed))
    assert first.tasks[0].decoding.hash != second.tasks[0].decoding.hash
    assert len(list((tmp_path / "out").glob("*/step-0-*/samples.jsonl"))) == 2


def test_a_limit_leaves_the_rest_for_the_next_call(model: str, tmp_path: Path) -> None:
    partial = run(model, tmp_path / "out", limit=5)
    assert "7 of 12 missing" in command.plan_lines(partial)[1]
    assert partial.results()[0].problems == 2  # of six, those with both answers
    run(model, tmp_path / "out", limit=7)
    run(model, tmp_path / "whole")
    assert samples_of(tmp_path / "out") == samples_of(tmp_path / "whole")


def test_what_an_engine_answered_before_it_died_is_kept(model: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fake engine fell over"):
        run(model, tmp_path / "out", "--die-after", "4")
    understood = command.understand(call(model, tmp_path / "out"))
    assert "4 of 12 answers are recorded" in command.farewell(understood)
    run(model, tmp_path / "out")
    run(model, tmp_path / "whole")
    assert samples_of(tmp_path / "out") == samples_of(tmp_path / "whole")


def test_what_the_engine_refuses_is_said_and_nothing_is_recorded(model: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="300 tokens, 16 are allowed"):
        run(model, tmp_path / "out", "--refuse")
    assert not list((tmp_path / "out").glob("**/*.jsonl"))


def test_the_table_has_the_columns_of_all_records(model: str, tmp_path: Path) -> None:
    run(model, tmp_path / "out")
    frame = table.load(tmp_path / "out")
    lines = [json.loads(line) for line in samples_of(tmp_path / "out").splitlines()]
    assert len(frame) == len(lines) == 12
    for row, line in zip(frame.to_dict("records"), lines, strict=True):
        assert row == {name: line[name] for name in row}
    assert set(frame["outcome"]) == {"correct", "wrong"}


def test_reports_see_what_is_whole(model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(model, out, limit=11)
    (partial,) = load_evaluations(out)
    assert (partial.k, partial.notes) == ({}, ("no benchmark is complete",))
    done = run(model, out)
    (whole,) = load_evaluations(out)
    assert (whole.kind, whole.cell, whole.scale) == ("model", done.subject.who.cell, "toy-xs")
    assert (whole.k, len(whole.samples)) == ({"pick-val": 2}, 12)
    assert whole.decoding["hash"] == done.tasks[0].decoding.hash
    assert whole.samples["correct"].mean() == done.results()[0].avg.point


def test_a_new_grader_version_grades_again_and_samples_nothing(
    model: str, tmp_path: Path, monkeypatch
) -> None:
    run(model, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*/step-0-*/samples.jsonl")
    good = path.read_bytes()
    old = [
        {**json.loads(line), "grader": "old", "correct": 0, "outcome": "wrong"} for line in good.splitlines()
    ]
    path.write_bytes(b"".join(answers.to_line(row) for row in old))
    counts = sent(monkeypatch)
    run(model, tmp_path / "out")
    assert not counts
    assert path.read_bytes() == good


def test_other_wording_is_asked_again(model: str, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    file = tmp_path / "own.jsonl"
    truth = {"style": "rule", "ground_truth": "1"}
    file.write_text(json.dumps({"prompt": "123456>", "reward_model": truth}) + "\n")
    changes = Changes(benchmarks=[str(file)])
    run(model, out, changes=changes)
    file.write_text(json.dumps({"prompt": "623451>", "reward_model": truth}) + "\n")
    counts = sent(monkeypatch)
    run(model, out, changes=changes)
    assert counts == [1]
    assert samples_of(out).count(b"\n") == 1


def test_rows_repeated_in_a_file_are_one_problem(model: str, tmp_path: Path) -> None:
    file = tmp_path / "aime24_x32.jsonl"
    row = {"prompt": "123456>", "reward_model": {"style": "rule", "ground_truth": "1"}}
    file.write_text((json.dumps(row) + "\n") * 32)
    done = run(model, tmp_path / "out", changes=Changes(benchmarks=[str(file)], samples=3))
    assert [(task.benchmark, task.size) for task in done.tasks] == [("aime24", 3)]


def test_two_at_once_do_not_write_to_one_folder(model: str, tmp_path: Path) -> None:
    understood = command.understand(call(model, tmp_path / "out"))
    base = RunDir(tmp_path / "out" / understood.subject.name)
    base.path.mkdir(parents=True)
    with base.lock() as held:
        assert held
        with pytest.raises(UserError, match="another process evaluates this"):
            command.evaluate(understood, QUIET)


def test_a_dry_run_writes_nothing(model: str, tmp_path: Path) -> None:
    lines = command.plan_lines(command.understand(call(model, tmp_path / "out")))
    assert "12 of 12 missing" in lines[1]
    assert not (tmp_path / "out").exists()


def test_an_interrupt_ends_the_engine_and_keeps_the_records(model: str, tmp_path: Path, monkeypatch) -> None:
    def interrupted(records: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.Shown, "add", lambda self, records: interrupted(records))
    engines = []
    real = command.start_engines
    monkeypatch.setattr(command, "start_engines", lambda s, i: engines.append(real(s, i)) or engines[-1])
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path / "out", "--slow", "0.5")  # the rest would take long, however late one looks
    assert engines[0].process.poll() is not None
    (folder,) = (tmp_path / "out").glob("*/step-0-*")
    assert 0 < len(shards.load(folder)) < 12

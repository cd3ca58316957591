"""Foreign runs: what each kind of file gives, and that damage is named and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cegppo_verl import records
from cegppo_verl.errors import UserError
from cegppo_verl.records.importers import KINDS, Options, Target, import_run, imported_runs, is_imported
from cegppo_verl.records.metrics import load_metrics
from cegppo_verl.records.rundir import RunDir
from cegppo_verl.records.samples import completeness, load_samples

TARGET = Target.parse("theirs/grpo", seed=3, scale="7b")


def lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def dump(folder: Path, step: int = 10, problems: int = 2) -> Path:
    """A dump as verl's own reward managers leave it: score and acc, no problem ids."""
    rows = [
        {"input": f"q{p}", "output": f"a{s}", "gts": "1", "score": score, "step": step, "data_source": "aime"}
        for p in range(problems)
        for s, score in enumerate((1.0, -1.0, 0.5))
    ]
    return lines(folder / f"{step}.jsonl", rows).parent


def details(path: Path, texts: int = 1, dunder: bool = False, **metric: float) -> Path:
    """lighteval's file of two problems."""
    column = "__{}__" if dunder else "{}"
    rows = [
        {
            column.format("doc"): {
                "query": f"q{p}",
                "choices": ["x", "204"],
                "gold_index": [1],
                "id": str(p),
                "task_name": "lighteval|aime24|0",
            },
            column.format("model_response"): {
                "text": [f"\\boxed{{20{4 + s}}}" for s in range(texts)],
                "output_tokens": [[1, 2, 3]] * texts,
            },
            column.format("metric"): {name: value if p == 0 else 0.0 for name, value in metric.items()},
        }
        for p in range(2)
    ]
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def events(folder: Path) -> Path:
    """An event file with three scalars."""
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step, value in ((1, 0.5), (2, 0.25), (4, float("nan"))):
        scalar = Summary.Value(tag="actor/entropy", simple_value=value)
        writer.add_event(Event(step=step, summary=Summary(value=[scalar])))
    writer.close()
    return next(folder.glob("*tfevents*"))


def always_right(response: str, truth: str) -> dict[str, Any]:
    return {"acc": float("204" in response), "outcome": "x", "extracted": truth, "grader": "ours+1"}


def test_verl_dumps(tmp_path: Path) -> None:
    done = import_run("verl", dump(tmp_path / "theirs"), TARGET, tmp_path / "results")
    assert (done.samples, done.steps, done.notes) == (6, (10,), ("2 of 6 samples carry no verdict",))
    frame = records.load_samples(done.folder)
    np.testing.assert_equal(frame["correct"].tolist(), [1, 0, np.nan] * 2)
    assert frame["sample"].tolist() == [0, 1, 2] * 2
    assert set(frame["benchmark"]) == {"aime"}
    assert set(frame["cell"]) == {TARGET.cell_id}
    assert set(frame["seed"]) == {3}


def test_an_imported_run_is_marked_and_found(tmp_path: Path) -> None:
    done = import_run("verl", dump(tmp_path / "theirs"), TARGET, tmp_path)
    run = RunDir(done.folder)
    assert run.path.parent == tmp_path / "imported" / "theirs"
    assert is_imported(run.cell())
    assert run.cell()["id"].startswith("imported-")
    assert run.manifest()["state"] == "imported"
    (source,) = run.manifest()["imports"]
    assert (source["kind"], source["name"], source["files"], len(source["sha256"])) == (
        "verl",
        "theirs",
        1,
        64,
    )
    assert str(tmp_path) not in run.manifest_file.read_text() + run.cell_file.read_text()
    ((folder, cell, status),) = imported_runs(tmp_path, "theirs")
    assert (folder, cell["arm"], cell["seed"], status.state, status.step) == (
        run.path,
        "grpo",
        3,
        "imported",
        10,
    )
    assert imported_runs(tmp_path, "ours") == []
    assert not is_imported({"id": "0" * 12})


def test_lighteval_with_one_response_per_problem(tmp_path: Path) -> None:
    for dunder in (False, True):
        path = details(tmp_path / "details_x.parquet", dunder=dunder, extractive_match=1.0)
        done = import_run("lighteval", path, Target("g", f"a{int(dunder)}", 1), tmp_path, Options(step=40))
        frame = load_samples(done.folder).frame
        assert frame["correct"].tolist() == [1, 0]
        assert frame["problem"].tolist() == ["aime24/0", "aime24/1"]
        assert frame["tokens"].tolist() == [3, 3]
        assert set(frame["step"]) == {40}
        assert set(frame["grader"]) == {"lighteval:extractive_match"}


def test_lighteval_of_many_responses_does_not_tell_which_were_right(tmp_path: Path) -> None:
    path = details(tmp_path / "details_x.parquet", texts=4, **{"avg@4": 0.25})
    frame = load_samples(import_run("lighteval", path, TARGET, tmp_path).folder).frame
    np.testing.assert_equal(frame["correct"].tolist(), [np.nan] * 4 + [0] * 4)


def test_a_passed_problem_is_not_one_with_all_samples_right(tmp_path: Path) -> None:
    path = details(tmp_path / "details_x.parquet", texts=4, **{"pass@4": 1.0})
    with pytest.raises(UserError, match="no sample has a verdict"):
        import_run("lighteval", path, TARGET, tmp_path)
    done = import_run("lighteval", path, TARGET, tmp_path, Options(grade=always_right))
    frame = load_samples(done.folder).frame
    assert frame["correct"].tolist() == [1, 0, 0, 0] * 2
    assert set(frame["extracted"]) == {"204"}
    assert set(frame["grader"]) == {"ours+1"}


def test_of_several_metrics_one_is_named(tmp_path: Path) -> None:
    path = details(tmp_path / "details_x.parquet", em=1.0, qem=0.0)
    with pytest.raises(UserError, match="found: em, qem"):
        import_run("lighteval", path, TARGET, tmp_path)
    done = import_run("lighteval", path, TARGET, tmp_path, Options(metric="qem"))
    assert load_samples(done.folder).frame["correct"].tolist() == [0, 0]


def test_the_authors_repeated_rows(tmp_path: Path) -> None:
    rows = [
        {
            "data_source": "math_longcot_math_verify",
            "prompt": [{"role": "user", "content": f"q{p}"}],
            "reward_model": {"ground_truth": "1"},
            "response": "x",
            "score": s == p,
        }
        for s in range(3)
        for p in range(2)
    ]
    done = import_run("repeated", lines(tmp_path / "aime24_x3.jsonl", rows), TARGET, tmp_path)
    frame = load_samples(done.folder).frame
    assert frame.groupby("problem", observed=True)["correct"].agg(["size", "sum"]).to_numpy().tolist() == [
        [3, 1],
        [3, 1],
    ]
    assert set(frame["benchmark"]) == {"aime24"}


def test_a_benchmark_without_responses_is_no_record(tmp_path: Path) -> None:
    path = lines(tmp_path / "aime24.jsonl", [{"prompt": "q", "reward_model": {"ground_truth": "1"}}])
    with pytest.raises(UserError, match=r"line 1: a row without response(.|\n)*cegppo data"):
        import_run("repeated", path, TARGET, tmp_path)


HISTORY = [{"_step": 1, "actor/entropy": 0.5, "note": "a"}, {"_step": 2, "actor/entropy": None, "val/x": 1.0}]


def wandb_files(folder: Path) -> list[Path]:
    (folder / "h.csv").write_text("_step,actor/entropy,val/x,note\n1,0.5,,a\n2,,1.0,\n")
    pq.write_table(pa.Table.from_pylist([HISTORY[0] | {"val/x": None}, HISTORY[1]]), folder / "h.parquet")
    return [folder / "h.csv", folder / "h.parquet", lines(folder / "h.jsonl", HISTORY)]


def test_wandb_histories(tmp_path: Path) -> None:
    for seed, path in enumerate(wandb_files(tmp_path)):
        done = import_run("wandb", path, Target("g", "a", seed), tmp_path)
        assert done.notes == ("1 columns hold text in places: note",)
        metrics = load_metrics(done.folder)
        assert metrics.keys() == ["actor/entropy", "val/x"]
        np.testing.assert_equal([x.tolist() for x in metrics.series("actor/entropy")], [[1], [0.5]])


def test_a_wandb_chart_of_one_run(tmp_path: Path) -> None:
    chart = tmp_path / "chart.csv"
    chart.write_text('"Step","r1 - actor/entropy","r1 - actor/entropy__MIN"\n4,0.5,0.1\n')
    assert load_metrics(import_run("wandb", chart, TARGET, tmp_path).folder).keys() == ["actor/entropy"]
    chart.write_text('"Step","r1 - actor/entropy","r2 - actor/entropy"\n4,0.5,0.1\n')
    with pytest.raises(UserError, match="exactly one run, found: r1, r2"):
        import_run("wandb", chart, TARGET, tmp_path)


def test_tensorboard_events(tmp_path: Path) -> None:
    path = events(tmp_path / "tb")
    done = import_run("tensorboard", path.parent, TARGET, tmp_path)
    steps, values = load_metrics(done.folder).series("actor/entropy")
    assert steps.tolist() == [1, 2, 4]
    np.testing.assert_equal(values, [0.5, 0.25, np.nan])


def test_a_cut_tail_of_events_is_noted_and_damage_before_it_refused(tmp_path: Path) -> None:
    path = events(tmp_path / "tb")
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    done = import_run("tensorboard", path, Target("g", "cut", 1), tmp_path)
    assert done.notes == (f"{path.name}: the last record is cut off",)
    assert load_metrics(done.folder).series("actor/entropy")[0].tolist() == [1, 2]
    path.write_bytes(data[:-60] + bytes([data[-60] ^ 255]) + data[-59:])
    with pytest.raises(UserError, match=r"damaged after|readable"):
        import_run("tensorboard", path, TARGET, tmp_path)


def test_two_tools_may_tell_of_one_run(tmp_path: Path) -> None:
    import_run("verl", dump(tmp_path / "theirs", 10), TARGET, tmp_path)
    import_run("verl", dump(tmp_path / "more", 20), TARGET, tmp_path)
    done = import_run("wandb", wandb_files(tmp_path)[0], TARGET, tmp_path)
    assert load_samples(done.folder).steps() == [10, 20]
    assert load_metrics(done.folder).last_step == 2
    assert RunDir(done.folder).cell()["settings"]["total_steps"] == 20
    assert [one["kind"] for one in RunDir(done.folder).manifest()["imports"]] == ["verl", "verl", "wandb"]
    assert sorted(p.name for p in done.folder.parent.iterdir()) == [done.folder.name]


def test_an_imported_cell_plans_what_it_has(tmp_path: Path) -> None:
    """So that reports know its k and find an evaluation of fewer problems incomplete."""
    import_run("verl", dump(tmp_path / "theirs", 10), TARGET, tmp_path)
    done = import_run("verl", dump(tmp_path / "more", 20, problems=1), TARGET, tmp_path)
    cell = RunDir(done.folder).cell()
    plan = cell["settings"]["eval"]["benchmarks"]
    assert plan == [{"name": "aime", "samples": 3, "problems": 2}]
    found = load_samples(done.folder, cell_id=cell["id"], seed=3)
    assert completeness(found, 10, plan) == []
    assert completeness(found, 20, plan) == ["step 20: aime: 1 of 2 problems"]
    assert set(found.frame["decoding"]) == {""}
    only_metrics = import_run("wandb", wandb_files(tmp_path)[0], Target("g", "a", 1), tmp_path).folder
    assert RunDir(only_metrics).cell()["settings"]["eval"] == {"benchmarks": []}


def test_an_import_killed_during_the_exchange_loses_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    import_run("verl", dump(tmp_path / "theirs", 10), TARGET, tmp_path)
    real, moves = Path.rename, []

    def killed(self: Path, to: Path) -> Path:
        moves.append(to)
        if len(moves) == 2:
            raise KeyboardInterrupt
        return real(self, to)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        import_run("verl", dump(tmp_path / "more", 20), TARGET, tmp_path)
    monkeypatch.undo()
    done = import_run("verl", dump(tmp_path / "more", 20), TARGET, tmp_path)
    assert load_samples(done.folder).steps() == [10, 20]


def test_nothing_comes_in_twice(tmp_path: Path) -> None:
    folder = dump(tmp_path / "theirs")
    done = import_run("verl", folder, TARGET, tmp_path)
    before = contents(done.folder)
    with pytest.raises(UserError, match="imported already"):
        import_run("verl", folder, TARGET, tmp_path)
    lines(tmp_path / "other" / "10.jsonl", [{"input": "q9", "acc": 1, "data_source": "aime"}])
    with pytest.raises(UserError, match="step 10 of aime is there already"):
        import_run("verl", tmp_path / "other", TARGET, tmp_path)
    assert contents(done.folder) == before
    assert len(list(done.folder.parent.iterdir())) == 1


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


Maker = Callable[[Path], Path]
DAMAGED: list[tuple[str, str, Maker]] = [
    ("verl", "line 2: no JSON", lambda f: text(f / "1.jsonl", '{"input": "q", "acc": 1}\n{"inp').parent),
    ("verl", "line 1: no JSON object", lambda f: text(f / "1.jsonl", "[1]\n").parent),
    ("verl", "nested too deeply", lambda f: text(f / "1.jsonl", '{"a":' + "[" * 200_000).parent),
    ("verl", "line 1: no JSON", lambda f: text(f / "1.jsonl", "\xff\x00\n").parent),
    ("verl", "neither input nor problem_id", lambda f: lines(f / "1.jsonl", [{"acc": 1}]).parent),
    ("verl", "is of step 7, not 1", lambda f: lines(f / "1.jsonl", [{"input": "q", "step": 7}]).parent),
    ("verl", "is no step", lambda f: lines(f / "99999999999.jsonl", [{"input": "q"}]).parent),
    (
        "verl",
        "no sample has a verdict",
        lambda f: lines(f / "1.jsonl", [{"input": "q", "score": 0.3}]).parent,
    ),
    ("verl", "holds no samples", lambda f: text(f / "1.jsonl", "").parent),
    ("verl", "no verl dumps", lambda f: text(f / "x.jsonl", "{}").parent),
    ("wandb", "no column of steps", lambda f: text(f / "a.csv", "x,y\n1,2\n")),
    ("wandb", "row 3: has not as many cells", lambda f: text(f / "a.csv", "_step,y\n1,2\n1\n")),
    ("wandb", "'1.5' is no step", lambda f: text(f / "a.csv", "_step,y\n1.5,2\n")),
    ("wandb", "'nan' is no step", lambda f: text(f / "a.csv", "_step,y\nnan,2\n")),
    ("wandb", "holds no numbers", lambda f: text(f / "a.csv", "_step,y\n")),
    ("wandb", "no readable parquet", lambda f: text(f / "a.parquet", "PAR1PAR1")),
    ("wandb", "no W&B export", lambda f: text(f / "a.txt", "x")),
    ("tensorboard", "no event files", lambda f: text(f / "a.txt", "x").parent),
    ("tensorboard", "holds no scalars", lambda f: text(f / "tfevents", "abc")),
    ("lighteval", "no readable parquet", lambda f: text(f / "details_x.parquet", "x")),
    ("lighteval", "no column doc, model_response, metric", lambda f: table(f / "d.parquet", {"a": [1]})),
    ("lighteval", "a column is no record", lambda f: table(f / "d.parquet", {key: [1] for key in KEYS})),
    ("repeated", "a row without prompt", lambda f: lines(f / "a.jsonl", [{"response": "x"}])),
    ("repeated", "no such file", lambda f: f.parent),
    ("verl", "no such file or folder", lambda f: f / "nowhere"),
    ("verll", "did you mean 'verl'", lambda f: f.parent),
]
KEYS = ("doc", "model_response", "metric")


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("latin-1"))
    return path


def table(path: Path, columns: dict[str, list[int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(("kind", "message", "make"), DAMAGED)
def test_damage_is_named_and_nothing_is_written(tmp_path: Path, kind: str, message: str, make: Maker) -> None:
    path = make(tmp_path / "theirs")
    with pytest.raises(UserError) as error:
        import_run(kind, path, TARGET, tmp_path / "results")
    assert message in str(error.value)
    assert not (tmp_path / "results").exists()


def test_an_import_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cegppo_verl.records.importers.writing.atomic.write_json", full)
    with pytest.raises(OSError, match="No space"):
        import_run("verl", dump(tmp_path / "theirs"), TARGET, tmp_path / "results")
    assert list((tmp_path / "results" / "imported" / "theirs").iterdir()) == []


@pytest.mark.parametrize(
    "place", ["grid", "grid/", "/arm", "../x", "a/b/c", "a/..", "A/b", "a/b__c", "a/b\n"]
)
def test_what_is_no_place(place: str) -> None:
    with pytest.raises(UserError, match="no name"):
        Target.parse(place, 1)


def test_without_tensorboard_the_error_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    path = events(tmp_path / "tb")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("cegppo_verl.records.importers.tensorboard.importlib.import_module", missing)
    with pytest.raises(UserError, match="install the package tensorboard"):
        import_run("tensorboard", path, TARGET, tmp_path)


def test_every_kind_says_how_it_is_read() -> None:
    assert all(reader.read.__doc__ and reader.files.__doc__ for reader in KINDS.values())


def test_the_verb(tmp_path: Path) -> None:
    import typer

    from cegppo_verl.cli_import import import_

    app = typer.Typer()
    app.command()(import_)
    words = ["verl", str(dump(tmp_path / "theirs")), "--as", "theirs/grpo", "--seed", "3"]
    found = CliRunner().invoke(app, [*words, "--results", str(tmp_path / "results")])
    assert found.exit_code == 0, found.output
    assert "6 samples of 1 steps" in found.output
    assert "note: 2 of 6 samples carry no verdict" in found.output
    assert len(imported_runs(tmp_path / "results", "theirs")) == 1


def test_the_verb_grades_anew(tmp_path: Path) -> None:
    from cegppo_verl.cli_import import _grader

    verdict = _grader()("so \\boxed{204}", '["7", "204"]')
    assert verdict["acc"] == 1.0
    assert verdict["outcome"] == "correct"
    assert verdict["grader"].startswith("math-verify-")

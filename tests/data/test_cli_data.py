"""The verbs as a person types them: what they print, what they write, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from data import samples

from cegppo_verl import cli, cli_data
from cegppo_verl.data import catalog, check
from cegppo_verl.errors import UserError


@pytest.fixture
def cegppo(tmp_path, monkeypatch, capsys):
    """A function that runs a command line and returns (exit code, output, errors)."""
    app = typer.Typer()
    app.add_typer(cli_data.app, name="data")
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(cli_data.console, "width", 200)
    monkeypatch.setenv("CEGPPO_ASSETS", str(tmp_path / "assets"))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["cegppo", "data", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return run


def test_list_and_show(cegppo):
    code, out, _ = cegppo("list")
    assert code == 0
    assert all(name in out for name in catalog.datasets())
    code, out, _ = cegppo("show", "hmmt25")
    assert code == 0
    assert catalog.dataset("HMMT25").revision in out
    assert "cc-by-nc-sa-4.0" in out


def test_fetch_then_list_check_and_overlap(cegppo, tmp_path):
    samples.repository("GSM8K", tmp_path / "copies" / "GSM8K")
    samples.repository("AMC23", tmp_path / "copies" / "AMC23")
    copies = ("--from", tmp_path / "copies")
    assert cegppo("fetch", "gsm8k", *copies)[0] == 0
    code, out, _ = cegppo("fetch", "AMC23", *copies, "--problems", 5)
    assert (code, "AMC23: 5 problems" in out, "written" in out) == (0, True, True)
    assert cegppo("list")[1].count("5 problems") == 2
    file = tmp_path / "assets" / "AMC23" / "test.parquet"
    code, out, _ = cegppo("check", file)
    assert (code, "5, each once" in out, "unchanged since" in out) == (0, True, True)
    code, out, _ = cegppo("overlap", "GSM8K", "AMC23")
    assert (code, "same words" in out) == (0, True)
    report = json.loads((tmp_path / "assets" / "GSM8K" / "overlap.json").read_text())
    assert report["benchmarks"][0]["counts"]["the same words"] == 5


def test_out_is_another_folder(cegppo, tmp_path):
    samples.repository("GSM8K", tmp_path / "copy")
    assert cegppo("fetch", "GSM8K", "--from", tmp_path / "copy", "--out", tmp_path / "mine")[0] == 0
    assert (tmp_path / "mine" / "GSM8K" / "train.parquet").is_file()
    assert not (tmp_path / "assets").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("fetch", "AIME26"), "unknown data set 'AIME26'"),
        (("show", "GSM9K"), "did you mean 'GSM8K'"),
        (("fetch", "GSM8K", "--from", "nowhere"), "no such folder"),
        (("fetch", "GSM8K", "--template", "boxd"), "did you mean 'boxed'"),
        (("fetch", "GSM8K", "--max-prompt-tokens", "5"), "belong together"),
        (("fetch", "GSM8K", "MATH", "--revision", "main"), "--revision is of one data set"),
        (("fetch", "GSM8K", "MATH", "--problems", "3"), "--problems is of one data set"),
        (("fetch", "GSM8K", "--offline"), "this is offline"),
        (("overlap", "GSM8K", "AIME24"), "cegppo data fetch GSM8K"),
        (("check", "nothing.parquet"), "no such file"),
    ],
)
def test_what_is_wrong_ends_with_code_2_and_writes_nothing(words, told, cegppo, tmp_path):
    code, _, err = cegppo(*words)
    assert code == 2
    assert told in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


BARE = """
import importlib, pkgutil, sys
BLOCKED = "torch transformers huggingface_hub datasets ray verl vllm".split()
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import cegppo_verl.cli_data, cegppo_verl.data
names = [module.name for module in pkgutil.iter_modules(cegppo_verl.data.__path__)]
for name in names:
    importlib.import_module("cegppo_verl.data." + name)
print(len(names))
"""


def test_the_room_imports_without_the_training_stack_and_the_hub():
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def line(prompt="What?", truth="5", **other):
    return {"prompt": samples.chat(prompt), "reward_model": {"ground_truth": truth}, **other}


def test_check_counts_repetitions(tmp_path):
    file = samples.write(tmp_path / "mine.jsonl", [line("a"), line("b"), line("a")])
    assert check.check(file).lines()["problems"] == "2, 1 to 2 times"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "no rows"),
        ([{"promt": "x"}], "column 'prompt' is missing"),
        ([line(truth="")], "no answer"),
        ([line(), line(truth="6")], "two answers"),
        ([{**line(), "prompt": []}], "neither text nor one message"),
        (
            [line("a", extra_info={"problem_id": "x/1"}), line("b", extra_info={"problem_id": "x/1"})],
            "2 different problems have the id 'x/1'",
        ),
    ],
)
def test_check_refuses(rows, told, tmp_path):
    with pytest.raises(UserError) as error:
        check.check(samples.write(tmp_path / "mine.jsonl", rows))
    assert told in str(error.value)
    assert error.value.hint

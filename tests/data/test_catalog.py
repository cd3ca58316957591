"""The catalogue: every set is pinned, has a sample with its schema, and lies where `cegppo run` looks."""

from __future__ import annotations

import re

import pytest
from data import samples

from cegppo_verl.data import answers, catalog, problems
from cegppo_verl.data.catalog import COMMIT, FOLDER, datasets, templates
from cegppo_verl.errors import UserError
from cegppo_verl.experiment import catalog as grids

PAPER = ("aime24", "aime25", "hmmt25", "math500", "amc23")


def test_there_are_five_training_sets_and_seven_benchmarks():
    roles = [item.role for item in datasets().values()]
    assert (roles.count("train"), roles.count("benchmark")) == (5, 7)


@pytest.mark.parametrize("name", datasets())
def test_each_set_is_pinned_and_sampled(name):
    item = datasets()[name]
    assert COMMIT.fullmatch(item.revision)
    assert (FOLDER / f"{name}.yaml").is_file(), "the file is named after the set"
    assert name in samples.ROWS
    assert item.template == "bare", "training and evaluation have one prompt, the paper's"


def test_every_constant_of_the_catalogue_has_its_source():
    for file in FOLDER.glob("*.yaml"):
        lines = file.read_text().splitlines()
        for line in lines:
            if re.match(r"(revision|columns|licence|problems):", line):
                assert " # " in line or "none stated" in line, f"{file.name}: {line}"


def test_the_files_are_where_the_math_task_looks_for_them():
    task = grids.task("math")
    assert task.train_file == catalog.dataset("KlearReasoner-MathSub-30K").file
    assert set(PAPER) <= set(task.benchmarks)
    for name, benchmark in task.benchmarks.items():
        assert benchmark.file == catalog.dataset(name).file
        assert benchmark.problems == catalog.dataset(name).problems
        assert catalog.dataset(name).key == name, "verl's data_source is the benchmark's name in grids"


def test_a_missing_file_of_a_run_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError) as train:
        grids.train_file("math", tmp_path)
    assert "cegppo data fetch KlearReasoner-MathSub-30K" in str(train.value)
    for name in grids.task("math").benchmarks:
        with pytest.raises(UserError) as benchmark:
            grids.benchmark_files("math", [name], tmp_path)
        command = re.search(r"cegppo data fetch (\S+)", str(benchmark.value))
        assert command is not None
        assert catalog.dataset(command.group(1)).key == name


@pytest.mark.parametrize(("asked", "found"), [("aime24", "AIME24"), ("Gsm8k", "GSM8K"), ("MATH", "MATH")])
def test_names_are_found_in_any_case(asked, found):
    assert catalog.dataset(asked).name == found


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UserError, match="AIME24"):
        catalog.dataset("AIME2024")
    with pytest.raises(UserError, match="boxed"):
        catalog.template("boxd")


@pytest.mark.parametrize("name", templates())
def test_a_problem_comes_out_of_its_prompt_again(name):
    text = "What is {problem}?\n\nReally?"
    prompt = templates()[name].text.replace("{problem}", text)
    assert catalog.unwrapped(prompt) == text


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ("text", " 42 ", "42"),
        ("text", 42, "42"),
        ("text", 27.0, "27"),
        ("text", 0.5, "0.5"),
        ("text", "027", "027"),
        ("text", "", None),
        ("text", None, None),
        ("text", True, None),
        ("text", float("nan"), "nan"),
        ("hashes", "so <<1+1=2>>2\n#### 1,234", "1234"),
        ("hashes", "#### -3\n", "-3"),
        ("hashes", "no mark 5", None),
        ("hashes", "####  ", None),
        ("boxed", "first $\\boxed{1}$, then $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("boxed", "no box", None),
        ("boxed", "\\boxed{}", None),
        ("all_of", ["$2$"], "$2$"),
        ("all_of", ["1", "2"], "1, 2"),
        ("all_of", [], None),
        ("all_of", ["1", None], None),
        ("all_of", "7", "7"),
    ],
)
def test_answers_are_found_by_their_rule(rule, value, expected):
    assert answers.RULES[rule](value) == expected


def test_an_id_depends_on_the_words_and_on_nothing_else():
    same = [" What  is\n1+1? ", "What is 1+1?"]
    composed, decomposed = "\u00e9", "e\u0301"
    assert len({problems.content_id(text) for text in same}) == 1
    assert problems.content_id(composed) == problems.content_id(decomposed)
    assert problems.content_id("What is 1+2?") != problems.content_id("What is 1+1?")
    assert problems.content_id("What is 1+1?") == "31adf3e245f9", "ids must not change between versions"
